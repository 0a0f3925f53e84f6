"""A function over many items, in a pool: results as they are wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Generic, Self, TypeVar

from treadle.clock import Clock
from treadle.errors import PoolFull, WaitTimeout
from treadle.pools.arrivals import Arrivals
from treadle.pools.chunks import Chunk, Outcome, Sender
from treadle.pools.future import Future
from treadle.pools.progress import Shown

__all__ = ["Results"]

R_co = TypeVar("R_co", covariant=True)


class Results(Generic[R_co]):
    """The results of a map, for ``for``, ``async for``, and ``await``, which gives a list.

    They begin at once, as many ahead as its ``buffer`` allows. The first error is raised where its
    result would have been, and ends it; so does :meth:`close`, and to leave the loop early. What
    has not ended then is cancelled. A ``StopIteration`` of a call comes as a ``RuntimeError``.

    Args:
        sender: makes calls of chunks of items.
        chunks: the items.
        ahead: calls that may be under way.
        ordered: whether results come in the order of the items.
        timeout: seconds for the whole.
        return_exceptions: whether errors come as results.
        bar: is told of each.
        clock: time.
    """

    def __init__(
        self,
        sender: Sender,
        chunks: Iterator[Chunk],
        *,
        ahead: int,
        ordered: bool,
        timeout: float | None,
        return_exceptions: bool,
        bar: Shown,
        clock: Clock,
    ) -> None:
        self._sender = sender
        self._chunks: Iterator[Chunk] | None = chunks
        self._ahead = ahead
        self._return_exceptions = return_exceptions
        self._bar = bar
        self._clock = clock
        self._timeout = timeout
        self._until = None if timeout is None else clock.monotonic() + timeout
        # Calls under way, in the order of their items, and how many each has.
        self._line: dict[Future[Any], int] = {}
        self._arrivals: Arrivals[Future[Any]] | None = None if ordered else Arrivals()
        # Of calls that have ended, and not yet given.
        self._ready: deque[Outcome] = deque()
        # Taken from the items, and refused by a full pool; what the items themselves raised.
        self._held: list[Chunk] = []
        self._broken: BaseException | None = None
        self._fill()

    def __repr__(self) -> str:
        return f"<Results, {len(self._line)} calls under way>"

    # ------------------------------------------------------------- taking

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R_co:
        if not self._ready:
            following = self._following()
            if following is None:
                raise StopIteration
            try:
                following.wait(self._remaining())
            except BaseException as error:  # noqa: BLE001 - it is raised again
                self._give_up(following, error)
            self._take(following)
        return self._next()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R_co:
        if not self._ready:
            following = self._following()
            if following is None:
                raise StopAsyncIteration
            try:
                await following.await_for(self._remaining())
            except BaseException as error:  # noqa: BLE001 - it is raised again
                self._give_up(following, error)
            self._take(following)
        return self._next()

    def __await__(self) -> Generator[Any, None, list[R_co]]:
        """All results as a list. Cancelling what awaits it cancels the calls."""
        return self._all().__await__()

    async def _all(self) -> list[R_co]:
        return [one async for one in self]

    def close(self) -> None:
        """Cancel what has not ended, and take no more items. Harmless at any time; never blocks."""
        self._chunks = None
        self._held.clear()
        self._ready.clear()
        line, self._line = self._line, {}
        # From the end: else one would begin in the place of each that is cancelled.
        for one in reversed(line):
            one.cancel()
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_line", None):
            self.close()

    # ------------------------------------------------------------- sending

    def _fill(self) -> None:
        while self._chunks is not None and len(self._line) < self._ahead:
            try:
                chunk = self._held.pop() if self._held else next(self._chunks)
            except StopIteration:
                self._chunks = None
                return
            except Exception as error:  # noqa: BLE001 - it comes after what was before it
                self._chunks, self._broken = None, error
                return
            if self._remaining() == 0.0:
                # The time is over: nothing more is begun.
                self._held.append(chunk)
                return
            try:
                future = self._sender.send(chunk)
            except PoolFull:
                if not self._line:
                    raise
                self._held.append(chunk)
                return
            self._line[future] = len(chunk)
            if self._arrivals is not None:
                future.add_done_callback(self._arrivals.put)

    def _following(self) -> Future[Any] | None:
        """What ends when there is something to give; ``None`` at the end."""
        if not self._line:
            self._fill()
        if self._line:
            return next(iter(self._line)) if self._arrivals is None else self._arrivals.next()
        if self._held:
            self.close()
            raise WaitTimeout(
                f"the {self._timeout:g} s of the whole are over, and items are left; they are not "
                "begun"
            )
        broken, self._broken = self._broken, None
        self.close()
        if broken is not None:
            raise broken
        return None

    def _remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - self._clock.monotonic())

    def _give_up(self, following: Future[Any], error: BaseException) -> None:
        """Nothing more will be given, unless something came at the last moment."""
        if self._arrivals is not None and not following.cancel():
            return
        if isinstance(error, WaitTimeout):
            left = len(self._line)
            self.close()
            raise WaitTimeout(
                f"{left} calls have not ended within the {self._timeout:g} s of the whole, and are "
                "cancelled"
            ) from None
        if not isinstance(error, Exception):
            self.close()
        raise error

    def _take(self, following: Future[Any]) -> None:
        ended = following if self._arrivals is None else following.result()
        self._ready.extend(self._sender.outcomes(ended, self._line.pop(ended)))
        self._fill()

    def _next(self) -> R_co:
        outcome = self._ready.popleft()
        self._bar.update()
        if outcome.error is None:
            value: R_co = outcome.value
            return value
        if self._return_exceptions:
            error: Any = outcome.error
            return error  # type: ignore[no-any-return]
        self.close()
        if isinstance(outcome.error, StopIteration | StopAsyncIteration):
            # Raised here it would end the loop as if there were no more items.
            said = f"a call of a map raised {outcome.error!r}"
            raise RuntimeError(said) from outcome.error  # noqa: TRY004 - nobody gave a wrong type
        raise outcome.error
