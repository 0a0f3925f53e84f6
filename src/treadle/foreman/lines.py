"""Which queues a claim asks for, and for how many jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from treadle.foreman.sites import Sites
from treadle.foreman.turns import Turns
from treadle.pools.staff import Staff
from treadle.queuenames import Matcher, covers

__all__ = ["Line", "Lines"]


class Line(NamedTuple):
    """Queues that are asked for together."""

    queues: tuple[str, ...]
    exclude: tuple[str, ...]
    # Whose workers its jobs need.
    staffs: Sequence[Staff] = ()

    def room(self, most: int, given: Mapping[Staff, int] | None = None) -> int:
        """Jobs that it may be asked for, of so many places.

        Args:
            most: places.
            given: jobs that were claimed for a staff in this round and have no worker yet.
        """
        before = given or {}
        return min([most, *(staff.free - before.get(staff, 0) for staff in self.staffs)])


class Lines:
    """Keeps apart the queues of tasks that are given workers.

    Their jobs are claimed only while a worker is free: what cannot run yet stays in the store,
    where another foreman may have it. Everything else is asked for together.

    Args:
        turns: the queues, in the order of each claim.
        exclude: queues not to serve.
        sites: know the workers.
    """

    def __init__(self, turns: Turns, exclude: Sequence[str], sites: Sites) -> None:
        self._turns = turns
        self._exclude = tuple(exclude)
        self._sites = sites
        self._matcher = Matcher(turns.names, exclude)
        self._apart: list[Line] = []
        self._rest: tuple[str, ...] | None = self._exclude
        self._tasks = -1
        self._first = 0
        # Those that had no room, or all of it filled, when they were asked last.
        self._shut: list[Line] = []

    def round(self) -> list[Line]:
        """The lines in the order of the next claims; another one is the first each time."""
        self._refresh()
        self._shut = []
        queues = self._turns.next()
        if not self._apart:
            return [Line(queues, self._exclude)]
        lines = list(self._apart)
        if self._rest is not None:
            lines.append(Line(queues, self._rest))
        self._first = (self._first + 1) % len(lines)
        return lines[self._first :] + lines[: self._first]

    def shut(self, line: Line) -> None:
        """A line has no room any more, as far as its workers are concerned."""
        self._shut.append(line)

    @property
    def complete(self) -> bool:
        """Whether all of them had room in this round."""
        return not self._shut

    @property
    def reopened(self) -> bool:
        """Whether there is room in one that had none."""
        return any(line.room(1) > 0 for line in self._shut)

    @property
    def awaited(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The queues in which something new is worth a claim, and those in which it is not."""
        shut = (line.queues[0] for line in self._shut)
        return self._turns.names, (*self._exclude, *shut)

    def _refresh(self) -> None:
        tasks = self._sites.number_of_tasks
        if tasks == self._tasks:
            return
        self._tasks = tasks
        served = {
            queue: staffs
            for queue, staffs in self._sites.queues().items()
            if self._matcher.place(queue) is not None
        }
        self._apart = [
            Line((queue,), (*self._exclude, *_below(queue, served)), staffs)
            for queue, staffs in served.items()
        ]
        # A foreman that serves nothing else need not ask for it.
        others = set(self._turns.names) - served.keys()
        self._rest = (*self._exclude, *served) if others else None


def _below(queue: str, queues: Iterable[str]) -> list[str]:
    return [other for other in queues if other != queue and covers(queue, other)]
