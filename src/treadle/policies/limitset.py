"""The limits of one call together: all are granted or none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self, cast

import msgspec

from treadle.errors import InvalidOption, UnknownOption
from treadle.hints import did_you_mean
from treadle.policies.definition import refuse
from treadle.policies.limits import Limit, Rate, Slots
from treadle.records import Ask

__all__ = ["Limits", "Wanted"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of the limits of a set."""

    # Units by the names of limits, instead of what a call takes.
    amounts: Mapping[str, float] = {}
    # Whether limits that are not named are left alone.
    named_only: bool = False
    # For limits by value.
    arguments: Mapping[str, Any] = {}
    # Number of the worker it is for.
    worker: int | None = None
    # The function whose arguments they are; nothing for a block of code, which names them itself.
    asker: str = ""


class Limits(tuple[Limit, ...]):
    """Limits that are granted together or not at all.

    Args:
        limits: :class:`Rate` and :class:`Slots`, each with a key of its own.
    """

    __slots__ = ()

    def __new__(cls, *limits: Limit) -> Self:
        for limit in limits:
            given: object = limit
            if not isinstance(given, Rate | Slots):
                several = isinstance(given, list | tuple)
                way_out = f"; give each by itself: {cls.__name__}(Slots(4), …)" if several else ""
                if isinstance(given, str | int | float):
                    way_out = ", such as Rate(10, per=60) or Slots(4)"
                refuse("limits", limit, f"a Rate or Slots{way_out}")
        _distinct([limit.named("") for limit in limits])
        return super().__new__(cls, limits)

    def __getnewargs__(self) -> tuple[Limit, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self))})"

    @classmethod
    def of(cls, value: object) -> Limits:
        """The limits that an option holds: one, several or none."""
        if isinstance(value, Limits):
            return value
        if value is None:
            return cls()
        if isinstance(value, Rate | Slots):
            return cls(value)
        return cls(*_listed(value))

    @property
    def static(self) -> bool:
        """Whether every call asks for the same, whatever its arguments."""
        return not any(limit.readers for limit in self)

    @property
    def per_worker(self) -> bool:
        """Whether some limit is one for each worker."""
        return any(limit.scope is not None for limit in self)

    def check(self, owner: str, parameters: Collection[str]) -> None:
        """Refuse limits that read parameters which the task does not have."""
        for limit in self:
            for reader in limit.readers:
                reader.check(parameters, owner)

    def asks(self, owner: str, arguments: Mapping[str, Any] | None = None) -> tuple[Ask, ...]:
        """What a call asks for.

        Args:
            owner: the task or queue; the name of limits without a key of their own.
            arguments: by the names of their parameters, defaults included; not looked at when
                the limits are ``static``.
        """
        given = arguments or {}
        asks = [ask for limit in self if (ask := limit.ask(owner, given)) is not None]
        _distinct([ask.key for ask in asks])
        return tuple(asks)

    @property
    def owner(self) -> str:
        """Whose the limits are that have no key of their own."""
        return ""

    @property
    def keys(self) -> frozenset[str]:
        """The keys that were given to limits, by which others can share them."""
        return frozenset(limit.key for limit in self if limit.key is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """What each limit is asked for by: its key, or ``slots`` and ``rate/60``."""
        return tuple(limit.named("").removeprefix(":") for limit in self)

    def asks_of(self, wanted: Wanted) -> dict[str, Ask]:
        """What is asked for, by the names of the limits.

        Raises:
            UnknownOption: none of the limits has that name.
            InvalidOption: an amount that can never be granted.
        """
        names = self.names
        for name in wanted.amounts:
            if name not in names:
                raise UnknownOption(
                    f"no limit {name!r} in this set{did_you_mean(name, names)}. "
                    f"Its limits: {', '.join(names) or 'none'}",
                    option=name,
                    known=names,
                )
        asks: dict[str, Ask] = {}
        for name, limit in zip(names, self, strict=True):
            amount = wanted.amounts.get(name)
            if amount is None and wanted.named_only:
                continue
            ask = limit.ask(self.owner, wanted.arguments, amount, asker=wanted.asker)
            if ask is not None and limit.scope is not None and wanted.worker is not None:
                ask = msgspec.structs.replace(ask, key=f"{ask.key}@worker/{wanted.worker}")
            if ask is not None:
                asks[name] = ask
        return asks


def _listed(value: Any) -> Iterable[Limit]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        refuse("limits", value, "a list of Rate and Slots")
    return cast("Iterable[Limit]", value)


def _distinct(keys: list[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise InvalidOption(
                f"limits: two of them have the key {key.removeprefix(':')!r}; give each its own "
                "with key=",
                option="limits",
                value=key,
            )
        seen.add(key)
