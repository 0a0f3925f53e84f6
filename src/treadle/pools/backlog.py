"""Calls that no worker has room for yet: ``max_queued_tasks``."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from treadle.errors import PoolFull, WorkerStopped
from treadle.loopthread import may_wait
from treadle.pools.future import Future
from treadle.pools.places.place import Place
from treadle.pools.submission import Submission

if TYPE_CHECKING:
    from treadle.pools.crew import Crew

__all__ = ["Backlog"]


class Backlog:
    """Keeps each worker at no more than so many calls, waiting and running.

    What comes when all have so many blocks its thread, lines up, or is refused, as ``on_full``
    says. Inside a running event loop nothing blocks: what would, lines up. A call with a key
    waits for the worker of its key, and holds up no others.

    Args:
        crew: gives the calls to the workers.
    """

    def __init__(self, crew: Crew) -> None:
        assert crew.options.max_queued_tasks is not None
        self._crew = crew
        self._bound = crew.options.max_queued_tasks
        self._on_full = crew.options.on_full
        self._sticky = crew.options.balancing == "sticky"
        # Calls of each worker that have not ended.
        self._held: dict[Place, int] = {}
        # Calls that any worker may have, and those that one of them must.
        self._line: deque[tuple[Submission, Any]] = deque()
        self._bound_lines: dict[Place, deque[tuple[Submission, Any]]] = {}
        self._refusing = False
        self._room = threading.Condition()

    def __len__(self) -> int:
        return len(self._line) + sum(map(len, self._bound_lines.values()))

    def put(self, call: Submission, key: Any, *, late: bool = False) -> None:
        """Give a call to a worker, now or when there is room.

        Args:
            late: it comes from a thread of somebody else, a worker's perhaps, which must not be
                blocked: it lines up.

        Raises:
            PoolFull: there is none, and ``on_full="raise"``.
            WorkerStopped: the pool was stopped while it waited for room.
        """
        blocks = self._on_full == "wait" and not late and may_wait()
        try:
            with self._room:
                place = self._with_room(key)
                while place is None and blocks and not self._refusing:
                    self._room.wait()
                    place = self._with_room(key)
                if place is None:
                    self._wait_in_line(call, key, blocks)
                    return
                self._held[place] = self._held.get(place, 0) + 1
        except BaseException as error:
            # It is not under way any more; who called is told.
            call.future.end(None, error)
            raise
        self._give(call, key, place)

    def _wait_in_line(self, call: Submission, key: Any, blocks: bool) -> None:
        if blocks:
            raise self._crew.gone()
        if self._on_full == "raise":
            raise PoolFull(
                f"{self._crew.plan.name} takes no more calls: max_queued_tasks={self._bound} for "
                "each worker wait and run; on_full='queue' lines up",
                worker=self._crew.plan.name,
            )
        self._line_of(key).append((call, key))

    def _line_of(self, key: Any) -> deque[tuple[Submission, Any]]:
        if not self._sticky or key is None:
            return self._line
        place = self._crew.balance(self._crew.places, key)
        return self._bound_lines.setdefault(place, deque())

    def _with_room(self, key: Any) -> Place | None:
        """The worker that is to have a call, if it has room."""
        held, bound = self._held, self._bound
        if self._sticky and key is not None:
            # A choice by key keeps no state, and needs no lock of the pool.
            place = self._crew.balance(self._crew.places, key)
            return place if held.get(place, 0) < bound else None
        free = [place for place in self._crew.places if held.get(place, 0) < bound]
        return self._crew.balance(free, None) if free else None

    def _give(self, call: Submission, key: Any, place: Place) -> None:
        call.future.add_done_callback(partial(self._ended, place))
        self._crew.pass_on(call, key, place)

    def _ended(self, place: Place, _: Future[Any]) -> None:
        with self._room:
            self._held[place] -= 1
            following = self._next()
        for one in following:
            self._give(*one)

    def _next(self) -> list[tuple[Submission, Any, Place]]:
        """Those in line for whom there is room now."""
        found: list[tuple[Submission, Any, Place]] = []
        for place, line in self._bound_lines.items():
            while line and self._held.get(place, 0) < self._bound:
                found.append((*line.popleft(), place))
                self._held[place] = self._held.get(place, 0) + 1
        while self._line and (free := self._with_room(None)) is not None:
            found.append((*self._line.popleft(), free))
            self._held[free] = self._held.get(free, 0) + 1
        # With keys, those who block do not wait for the same worker.
        self._room.notify_all() if self._sticky else self._room.notify()
        return found

    def resized(self) -> None:
        """There are other workers now: give what there is room for."""
        with self._room:
            moved, self._bound_lines = self._bound_lines, {}
            for line in moved.values():
                for call, key in line:
                    self._line_of(key).append((call, key))
            following = self._next()
            self._room.notify_all()
        for one in following:
            self._give(*one)

    def refuse(self) -> None:
        """Refuse what waits for room and was not accepted yet."""
        with self._room:
            self._refusing = True
            self._room.notify_all()

    def drop(self, error: WorkerStopped) -> None:
        """End everything that lines up, with an error."""
        with self._room:
            lines = [self._line, *self._bound_lines.values()]
            self._line, self._bound_lines = deque(), {}
        for line in lines:
            for call, _ in line:
                call.future.end(None, error)
