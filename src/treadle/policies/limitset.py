"""The limits of one call together: all are granted or none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self, cast

from treadle.errors import InvalidOption
from treadle.policies.definition import refuse
from treadle.policies.limits import Limit, Rate, Slots
from treadle.records import Ask

__all__ = ["LimitSet"]


class LimitSet(tuple[Limit, ...]):
    """Limits that are granted together or not at all.

    Args:
        limits: :class:`Rate` and :class:`Slots`, each with a key of its own.
    """

    __slots__ = ()

    def __new__(cls, *limits: Limit) -> Self:
        for limit in limits:
            if not isinstance(limit, Rate | Slots):
                refuse("limits", limit, "a Rate or Slots")
        _distinct([limit.named("") for limit in limits])
        return super().__new__(cls, limits)

    def __getnewargs__(self) -> tuple[Limit, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        return f"LimitSet({', '.join(map(repr, self))})"

    @classmethod
    def of(cls, value: Limit | Iterable[Limit] | None) -> LimitSet:
        """The limits that an option holds: one, several or none."""
        if isinstance(value, LimitSet):
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

    def check(self, owner: str, parameters: Collection[str]) -> None:
        """Refuse limits that read parameters which the task does not have."""
        for limit in self:
            for reader in limit.readers:
                reader.check(parameters, owner)

    def asks(self, scope: str, arguments: Mapping[str, Any] | None = None) -> tuple[Ask, ...]:
        """What a call asks for.

        Args:
            scope: the task or queue; the name of limits without a key of their own.
            arguments: by the names of their parameters, defaults included; not looked at when
                the limits are ``static``.
        """
        given = arguments or {}
        asks = [ask for limit in self if (ask := limit.ask(scope, given)) is not None]
        _distinct([ask.key for ask in asks])
        return tuple(asks)


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
