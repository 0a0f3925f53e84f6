"""Limits held by code: ``with limits.acquire({"tokens": 500}) as got``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Protocol, cast

from treadle.errors import Blocking, InvalidOption, NotOpen, UnknownOption
from treadle.guards import is_mapping
from treadle.hints import did_you_mean
from treadle.loopthread import may_block
from treadle.policies.definition import number
from treadle.policies.drive import run_async, run_sync
from treadle.policies.effects import Host
from treadle.policies.taking import taking
from treadle.pools.limiting.keeper import Keeper
from treadle.ports import Permit
from treadle.records import Ask, Hold, Spend

__all__ = ["Acquired", "Acquisition", "AsyncAcquisition", "Request", "amounts_of"]


class Request(Protocol):
    """What is asked for, and of whom."""

    @property
    def asks(self) -> Mapping[str, Ask]:
        """By the names of the limits."""
        ...

    @property
    def keeper(self) -> Keeper:
        """Counts them."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """What goes with the set they are of."""
        ...

    @property
    def uncounted(self) -> Collection[str]:
        """What was asked for by name of a set without limits."""
        ...


class Acquired:
    """Limits that are held, until the end of the block.

    Attributes:
        amounts: units by the names of the limits.
        config: what goes with the set; of the one that was chosen, when it is one of several.
    """

    def __init__(self, request: Request) -> None:
        self._asks = request.asks
        self._uncounted = request.uncounted
        self._over = False
        self.used: dict[str, float] = {}
        self.config = request.config
        self.amounts: dict[str, float] = {
            name: ask.units if isinstance(ask, Hold) else ask.cost
            for name, ask in self._asks.items()
        }

    def __repr__(self) -> str:
        return f"<Acquired {self.amounts}>"

    def update(self, used: Mapping[str, float]) -> None:
        """Say what was really spent; it is settled at the end of the block.

        What was not used is given back; what was used beyond becomes debt, which later calls wait
        for. The last word about a limit counts.

        Args:
            used: units by the names of rates.

        Raises:
            NotOpen: the block has ended.
            UnknownOption: not a limit that was acquired here.
            InvalidOption: slots, or an amount that is no number from 0, or no dict of these.
        """
        if self._over:
            raise NotOpen("update() after the end of the block: what it held is settled")
        for name, amount in amounts_of(used).items():
            ask = self._asks.get(name)
            if name in self._uncounted:
                continue
            if ask is None:
                raise UnknownOption(
                    f"{name!r} was not acquired here{did_you_mean(name, self._asks)}. "
                    f"What was: {', '.join(self._asks) or 'nothing'}",
                    option=name,
                    known=tuple(self._asks),
                )
            if isinstance(ask, Hold):
                raise InvalidOption(
                    f"{name!r} are slots: they are held and given back, not spent; update() is "
                    "for rates",
                    option=name,
                    value=amount,
                )
            self.used[name] = number(amount, name)

    def end(self) -> dict[str, float]:
        """Say that the block has ended; what to settle, by key."""
        self._over = True
        return {
            ask.key: self.used[name]
            for name, ask in self._asks.items()
            if isinstance(ask, Spend) and self.used.get(name, ask.cost) != ask.cost
        }


class _Held:
    """One acquisition under way."""

    def __init__(self, request: Request, timeout: float | None, owner: str) -> None:
        self._request = request
        self._timeout = timeout
        self._owner = owner
        self._permit: Permit | None = None
        self._got: Acquired | None = None

    def _begin(self) -> tuple[Ask, ...]:
        if self._got is not None:
            raise NotOpen("an acquisition is for one block; call acquire() for each")
        return tuple(self._request.asks.values())

    def _granted(self, permit: Permit | None) -> Acquired:
        self._permit = permit
        self._got = Acquired(self._request)
        return self._got

    def _end(self) -> tuple[Permit | None, dict[str, float]]:
        assert self._got is not None
        permit, self._permit = self._permit, None
        return permit, self._got.end()


class Acquisition(_Held):
    """Limits held by a block of plain code."""

    def __enter__(self) -> Acquired:
        if not may_block():
            raise Blocking(
                "acquire() would block the event loop that runs here; use "
                "'async with limits.aacquire()'",
                twin="aacquire",
            )
        asks = self._begin()
        if not asks:
            return self._granted(None)
        host = cast("Host", self._request.keeper)
        permit, _ = run_sync(taking(self._owner, asks, self._timeout), host)
        return self._granted(permit)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        permit, used = self._end()
        if permit is None:
            return
        try:
            if used:
                self._request.keeper.adjust(permit, used)
        finally:
            self._request.keeper.release(permit, False)


class AsyncAcquisition(_Held):
    """Limits held by a block of asynchronous code."""

    async def __aenter__(self) -> Acquired:
        asks = self._begin()
        if not asks:
            return self._granted(None)
        host = cast("Host", _AwaitedHost(self._request.keeper))
        permit, _ = await run_async(taking(self._owner, asks, self._timeout), host)
        return self._granted(permit)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        permit, used = self._end()
        if permit is None:
            return
        keeper = self._request.keeper.awaited
        try:
            if used:
                await keeper.adjust(permit, used)
        finally:
            await keeper.release(permit, False)


def amounts_of(value: Any) -> Mapping[str, float]:
    """What code says of limits, as it has to be.

    Raises:
        InvalidOption: it is anything else.
    """
    if not is_mapping(value):
        raise InvalidOption(
            f"amounts of limits are a dict from their keys, such as {{'tokens': 500}}, and not "
            f"{value!r}",
            option="amounts",
            value=value,
        )
    return value


class _AwaitedHost:
    """What the asynchronous driver needs of a keeper."""

    def __init__(self, keeper: Keeper) -> None:
        self.clock = keeper.clock
        awaited = keeper.awaited
        self.acquire, self.turn, self.withdraw = awaited.acquire, awaited.turn, awaited.withdraw
