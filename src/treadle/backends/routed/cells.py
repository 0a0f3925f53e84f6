"""Cells in several backends: those of queues lie where the queues live, all others in the first.

The rule of a queue whose subqueues live elsewhere is brought there too. The cell where the queue
itself lives is what counts: whoever writes it brings it to the others until what he has brought is
what it says, so that of two that write at a time the later one stands everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from treadle.backends.common.cells import written_rule
from treadle.backends.routed.part import Part
from treadle.backends.routed.routes import Routes
from treadle.errors import BackendError, InvalidOption, Unsupported
from treadle.policies.parking import BREAKER_CELL
from treadle.ports import QUEUE_CELL, SESSION_CELL, Backend, Cell, Feature, Write
from treadle.together import all_of

__all__ = ["Cells"]

_BY_QUEUE = (QUEUE_CELL, BREAKER_CELL)
_TRIES = 20


class Cells:
    """The cells of all backends.

    Args:
        parts: the backends.
        routes: say which queues they have.
    """

    def __init__(self, parts: Sequence[Part], routes: Routes) -> None:
        self._parts = parts
        self._routes = routes

    def home(self, key: str) -> int:
        """Where a cell lies."""
        for prefix in _BY_QUEUE:
            if key.startswith(prefix):
                return self._routes.of(key.removeprefix(prefix))
        return 0

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        asked: dict[int, list[str]] = {}
        for key in keys:
            for to in self._places(key):
                asked.setdefault(to, []).append(key)

        async def some(to: int, wanted: list[str]) -> dict[str, Cell]:
            found = await self._parts[to].ask(lambda one: one.read(wanted))
            # What is brought here from elsewhere is read where it is from.
            return {
                key: cell
                for key, cell in found.items()
                if key.startswith(SESSION_CELL) or self.home(key) == to
            }

        found = await all_of(some(to, wanted) for to, wanted in asked.items())
        return {key: cell for cells in found for key, cell in cells.items()}

    def _places(self, key: str) -> list[int]:
        start = key.removesuffix("*")
        everywhere = (SESSION_CELL,) if start == key else (SESSION_CELL, *_BY_QUEUE)
        for prefix in everywhere:
            if start.startswith(prefix) or (start != key and prefix.startswith(start)):
                return list(range(len(self._parts)))
        return [self.home(key)]

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none.

        Raises:
            InvalidOption: they lie in several backends.
            Unsupported: a rule counts what runs in several.
            BackendError: a rule could not be brought to each; written again, it is.
        """
        if not writes:
            return True
        homes = list(dict.fromkeys(self.home(one.key) for one in writes))
        if len(homes) > 1:
            raise InvalidOption(
                f"writes: the cells {', '.join(repr(one.key) for one in writes)} lie in backends "
                f"{self._shown(homes)}, and nothing is written in two of them at once; write "
                "them one after the other",
                option="writes",
                value=[one.key for one in writes],
            )
        spread = {one.key: one for one in writes if self._is_spread(one)}
        written = await self._parts[homes[0]].ask(lambda one: one.write(writes))
        if written:
            for one in spread.values():
                await self._bring(one, homes[0])
        return written

    def _is_spread(self, write: Write) -> bool:
        """Whether it is a rule for queues in several backends."""
        rule = written_rule(write)
        if not write.key.startswith(QUEUE_CELL):
            return False
        queue = write.key.removeprefix(QUEUE_CELL)
        touched = self._routes.touched(queue)
        if len(touched) > 1 and rule is not None and rule.max_running is not None:
            raise Unsupported(
                f"max_running={rule.max_running} of queue {queue!r} counts the jobs of its "
                f"subqueues, which live in backends {self._shown(touched)}; give it to queues "
                "that live in one of them, or limits=[Slots(n)] to their tasks",
                backend=self._parts[touched[0]].backend.url,
                feature=Feature.BOUNDS.value,
            )
        return len(touched) > 1

    async def _bring(self, write: Write, home: int) -> None:
        """Bring a rule to all backends that have subqueues of its queue."""
        key, there = write.key, self._parts[home]
        others = self._routes.touched(key.removeprefix(QUEUE_CELL))[1:]
        for _ in range(_TRIES):
            cell = (await there.ask(lambda one: one.read([key]))).get(key)
            copy = msgspec.structs.replace(
                write, value=None if cell is None else cell.value, expect=None
            )
            await all_of(self._parts[to].ask(partial(_write, copy)) for to in others)
            now = (await there.ask(lambda one: one.read([key]))).get(key)
            if _version(now) == _version(cell):
                return
        raise BackendError(
            f"the cell {key!r} changes all the time: it could not be brought to backends "
            f"{self._shown(others)}",
            backend=there.backend.url,
        )

    def _shown(self, parts: Sequence[int]) -> str:
        return " and ".join(str(self._parts[one]) for one in parts)


async def _write(write: Write, backend: Backend) -> bool:
    return await backend.write([write])


def _version(cell: Cell | None) -> int:
    return 0 if cell is None else cell.version
