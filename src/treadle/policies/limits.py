"""How often and how many at a time: definitions that give the asks of a call.

A limit is enforced where the call waits: by the claim of a store for jobs, by the guard of a
pool for calls of workers. Both are given the same records, :class:`~treadle.records.Spend` and
:class:`~treadle.records.Hold`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, ClassVar, Literal, Self, TypeAlias
from uuid import UUID

from treadle.durations import Duration, seconds
from treadle.errors import InvalidOption
from treadle.policies.arguments import By, Reader
from treadle.policies.definition import Definition, number, one_of, refuse, whole
from treadle.records import Algorithm, Hold, Spend

__all__ = ["Limit", "LimitScope", "Rate", "Slots"]

LimitScope: TypeAlias = Literal["worker"]
"""Who shares a limit, where it is not everybody who uses the set: the calls of one worker."""
_SCOPES = ("worker",)

_ALGORITHMS = {
    "gcra": Algorithm.GCRA,
    "token_bucket": Algorithm.GCRA,
    "leaky_bucket": Algorithm.GCRA,
    "fixed": Algorithm.FIXED,
    "sliding": Algorithm.SLIDING,
}
_OTHER_WORDS = {
    "fixed_window": "fixed", "window": "fixed", "sliding_window": "sliding",
    "moving_window": "sliding", "bucket": "token_bucket",
}  # fmt: skip
_TEXTS = (str, int, float, Decimal, UUID, Enum, date, PurePath, type(None))
_FIELD = re.compile(r"\{([^\W\d]\w*)[^{}]*\}")  # of a template
_LONGEST = 200  # characters of a value in a key; longer ones are hashed


class Rate(Definition):
    """At most ``count`` units per ``per``.

    Args:
        count: units.
        per: a duration.
        burst: units that may be spent at once after a rest; ``count`` by default.
        cost: units that one call spends; a number, or a function of those arguments of the
            call that it names. With 0 calls spend nothing by themselves, and code spends what it
            needs by name.
        key: name of the limit; tasks that name the same one share it. By default each task
            has its own.
        by: a limit for each value of it, such as a tenant: the name of a parameter, or a
            function of those arguments that it names.
        algorithm: ``gcra`` and ``token_bucket`` allow a burst and then the average,
            ``leaky_bucket`` spaces the units evenly, ``fixed`` counts in windows of ``per``,
            ``sliding`` weighs in the window before.
        scope: ``"worker"`` gives each worker of a pool a limit of its own.
    """

    __slots__ = ("_by", "_cost", "algorithm", "burst", "by", "cost", "count", "key", "per", "scope")
    synonyms: ClassVar[Mapping[str, str]] = {
        "limit": "count", "max": "count", "times": "count", "rate": "count", "amount": "count",
        "period": "per", "window": "per", "seconds": "per", "interval": "per", "weight": "cost",
    }  # fmt: skip

    count: float
    per: float
    burst: float | None
    cost: float | Callable[..., float]
    key: str | None
    by: By | None
    algorithm: str
    scope: LimitScope | None
    _by: Reader | None
    _cost: Reader | None

    def __new__(cls, *args: Any, **options: Any) -> Self:
        if args and isinstance(args[0], str):
            refuse("count", args[0], "a number; a rate of 100 in a minute is Rate(100, per='1m')")
        return super().__new__(cls)

    def __init__(
        self,
        count: float,
        *,
        per: Duration,
        burst: float | None = None,
        cost: float | Callable[..., float] = 1.0,
        key: str | None = None,
        by: By | None = None,
        algorithm: str = "gcra",
        scope: LimitScope | None = None,
    ) -> None:
        self._set(
            count=number(count, "count", above=True),
            per=seconds(per, "per"),
            burst=None if burst is None else number(burst, "burst", above=True),
            cost=cost if callable(cost) else number(cost, "cost"),
            key=_checked_key(key),
            by=by,
            algorithm=one_of(algorithm, "algorithm", _ALGORITHMS, _OTHER_WORDS),
            scope=None if scope is None else one_of(scope, "scope", _SCOPES),
            _by=_by(by),
            _cost=Reader(cost, "cost") if callable(cost) else None,
        )
        if self.per == 0:
            refuse("per", per, "above 0")
        if burst is not None and algorithm not in ("gcra", "token_bucket"):
            refuse("burst", burst, f"an option of {algorithm}; use gcra or token_bucket")
        if not callable(cost):
            self._fitting(self.cost)

    @property
    def capacity(self) -> float:
        """Units that can be spent at once."""
        if self.algorithm == "leaky_bucket":
            return 1.0
        return self.count if self.burst is None else self.burst

    @property
    def readers(self) -> tuple[Reader, ...]:
        """What has to be read from the arguments of each call."""
        return tuple(reader for reader in (self._by, self._cost) if reader)

    def named(self, owner: str) -> str:
        """The key, without the value of ``by``; ``owner`` is the task or queue it belongs to."""
        return _named(self.key, self._by, f"{owner}:rate/{self.per:g}")

    def ask(
        self,
        owner: str,
        arguments: Mapping[str, Any],
        amount: float | None = None,
        *,
        asker: str | None = None,
    ) -> Spend | None:
        """What a call with these arguments asks for; ``None`` when it costs nothing.

        Args:
            owner: the task or queue it belongs to.
            arguments: of the call.
            amount: units to spend instead of the ``cost``.
            asker: whose arguments they are, for messages, if not the owner's.
        """
        who = owner if asker is None else asker
        if amount is not None:
            cost = self._fitting(number(amount, self.named("").removeprefix(":")))
        elif self._cost is None:
            cost = self._fitting(self.cost)
        else:
            cost = self._fitting(number(self._cost.read(arguments, who), "cost"))
        if cost == 0:
            return None
        return Spend(
            key=_valued(self.named(owner), self._by, who, arguments),
            count=self.count,
            per=self.per,
            cost=cost,
            burst=1.0 if self.algorithm == "leaky_bucket" else self.burst,
            algorithm=_ALGORITHMS[self.algorithm],
        )

    def _fitting(self, cost: Any) -> float:
        if cost > self.capacity:
            wanted = f"within the {self.capacity:g} units that {self!r} can ever hold"
            if self.count < 1 and self.burst is None:
                wanted += f"; one unit in a longer time is Rate(1, per={self.per / self.count:g})"
            refuse("cost", cost, wanted)
        return float(cost)


class Slots(Definition):
    """At most so many at a time.

    Args:
        slots: how many units there are.
        units: how many of them one call holds while it runs; with 0 calls hold none by
            themselves, and code holds what it needs by name.
        key: name of the limit; tasks that name the same one share it. By default each task
            has its own.
        by: a limit for each value of it, such as a tenant: the name of a parameter, or a
            function of those arguments that it names.
        scope: ``"worker"`` gives each worker of a pool a limit of its own.
    """

    __slots__ = ("_by", "by", "key", "scope", "slots", "units")
    synonyms: ClassVar[Mapping[str, str]] = {
        "limit": "slots", "max": "slots", "count": "slots", "concurrency": "slots",
        "weight": "units", "cost": "units",
    }  # fmt: skip

    slots: int
    units: int
    key: str | None
    by: By | None
    scope: LimitScope | None
    _by: Reader | None

    def __init__(
        self,
        slots: int,
        *,
        units: int = 1,
        key: str | None = None,
        by: By | None = None,
        scope: LimitScope | None = None,
    ) -> None:
        self._set(
            slots=whole(slots, "slots", least=1),
            units=whole(units, "units"),
            key=_checked_key(key),
            by=by,
            scope=None if scope is None else one_of(scope, "scope", _SCOPES),
            _by=_by(by),
        )
        self._fitting(self.units)

    @property
    def capacity(self) -> int:
        """Units that can be held at once."""
        return self.slots

    @property
    def readers(self) -> tuple[Reader, ...]:
        """What has to be read from the arguments of each call."""
        return (self._by,) if self._by else ()

    def named(self, owner: str) -> str:
        """The key, without the value of ``by``; ``owner`` is the task or queue it belongs to."""
        return _named(self.key, self._by, f"{owner}:slots")

    def ask(
        self,
        owner: str,
        arguments: Mapping[str, Any],
        amount: float | None = None,
        *,
        asker: str | None = None,
    ) -> Hold | None:
        """What a call with these arguments asks for; ``None`` when it holds nothing.

        Args:
            owner: the task or queue it belongs to.
            arguments: of the call.
            amount: units to hold instead of ``units``.
            asker: whose arguments they are, for messages, if not the owner's.
        """
        units = self.units
        if amount is not None:
            units = self._fitting(whole(amount, self.named("").removeprefix(":")))
        if units == 0:
            return None
        who = owner if asker is None else asker
        key = _valued(self.named(owner), self._by, who, arguments)
        return Hold(key=key, slots=self.slots, units=units)

    def _fitting(self, units: int) -> int:
        if units > self.slots:
            refuse("units", units, f"within the {self.slots} slots there are")
        return units


Limit: TypeAlias = Rate | Slots


def _named(key: str | None, by: Reader | None, own: str) -> str:
    if key is not None:
        return key
    return own if by is None else f"{own}:{by.name}"


def _valued(name: str, by: Reader | None, who: str, arguments: Mapping[str, Any]) -> str:
    """The key with the value of ``by``. A name has no ``@``, so no value can imitate one."""
    if by is None:
        return name
    value = by.read(arguments, who)
    if not isinstance(value, _TEXTS):
        raise InvalidOption(
            f"by: {who or 'arguments='} gave {value!r} for {by.name!r}, which cannot name a limit; "
            "let it be text, such as the id of a tenant",
            option="by",
            value=value,
        )
    text = str(value.value if isinstance(value, Enum) else value)
    if len(text) > _LONGEST:
        text = "#" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{name}@{text}"


def _checked_key(key: Any) -> str | None:
    if key is not None and (not isinstance(key, str) or not key or "@" in key):
        refuse("key", key, "a text without '@'")
    if isinstance(key, str) and (field := _FIELD.search(key)):
        # It would be one limit for all of them, as the text stands there.
        refuse("key", key, f"filled in; say which argument keeps calls apart: by={field[1]!r}")
    return key


def _by(by: Any) -> Reader | None:
    if by is not None and not callable(by) and not (isinstance(by, str) and by.isidentifier()):
        refuse("by", by, "the name of a parameter or a function of the arguments")
    return None if by is None else Reader(by, "by")
