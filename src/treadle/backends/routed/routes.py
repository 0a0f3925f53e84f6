"""Which backend has which queues, and what a claim of several queues asks of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from treadle.queuenames import ALL, Matcher, ancestors, covers

__all__ = ["Plan", "Routes", "Tier"]

_PLANS = 256
"""Claims of different queues that are worked out once."""

Names = tuple[str, ...]


class Tier(msgspec.Struct, frozen=True):
    """Queues that are preferred alike: for each backend that has some, what to ask it for."""

    # Backend to its names in groups: those of one group may stand in any order.
    asks: Mapping[int, tuple[Names, ...]]
    # Backend to what it must not give with these names.
    excludes: Mapping[int, Names]


class Plan(msgspec.Struct, frozen=True):
    """What a claim of some queues comes to."""

    tiers: tuple[Tier, ...]
    # Backend to all names that are served, and those that are not.
    names: Mapping[int, tuple[Names, Names]]


class Routes:
    """Queues to backends, which are numbers here; 0 is that of all queues without a route.

    Args:
        routes: a queue, with its subqueues, to its backend. Of several the longest name counts.
    """

    def __init__(self, routes: Mapping[str, int]) -> None:
        self._routes = dict(routes)
        self._plans: dict[tuple[Names, Names], Plan] = {}

    def of(self, queue: str) -> int:
        """The backend of a queue."""
        routes = self._routes
        if queue in routes:
            return routes[queue]
        for above in ancestors(queue):
            if above in routes:
                return routes[above]
        return 0

    def touched(self, pattern: str | None) -> list[int]:
        """The backends of a queue and its subqueues, its own first; of all for ``*``."""
        first = 0 if pattern in (None, ALL) else self.of(str(pattern))
        below = (
            to for name, to in self._routes.items() if pattern is None or covers(pattern, name)
        )
        return list(dict.fromkeys((first, *below)))

    def plan(self, queues: Sequence[str], exclude: Sequence[str] = ()) -> Plan:
        """What a claim of these queues asks of each backend."""
        key = (tuple(queues), tuple(exclude))
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._planned(*key)
        return plan

    def _planned(self, queues: Names, exclude: Names) -> Plan:
        matcher = Matcher(queues, exclude)
        parts = {to: self._part(matcher, exclude, to) for to in self.touched(None)}
        names: dict[int, tuple[Names, Names]] = {}
        tiers: list[Tier] = []
        for to, (served, out) in parts.items():
            if served:
                names[to] = (tuple(name for name, _ in served), out)
        for place in range(len(matcher.queues)):
            asks = {
                to: (tuple(name for name, at in served if at == place),)
                for to, (served, _) in parts.items()
                if any(at == place for _, at in served)
            }
            if asks:
                tiers.append(Tier(asks, {}))
        tiers = list(_joined(tiers))
        return Plan(
            tuple(Tier(one.asks, dict(_kept_out(one, names))) for one in tiers),
            names,
        )

    def _part(
        self, matcher: Matcher, exclude: Names, to: int
    ) -> tuple[list[tuple[str, int]], Names]:
        """Names that one backend serves, each with its place among the queues, and those not.

        A name says something only where it differs from the one above it.
        """
        known = dict.fromkeys((*matcher.queues, *exclude, *self._routes, ALL))

        def place(name: str) -> int | None:
            to_it = 0 if name == ALL else self.of(name)
            return matcher.place(name) if to_it == to else None

        served: list[tuple[str, int]] = []
        out: list[str] = []
        for name in known:
            above = next((one for one in ancestors(name) if one in known), ALL)
            at = place(name)
            if at == (None if name == ALL else place(above)):
                continue
            if at is None:
                out.append(name)
            else:
                served.append((name, at))
        return sorted(served, key=lambda one: one[1]), tuple(out)


def _joined(tiers: Sequence[Tier]) -> Iterator[Tier]:
    """The same with neighbours made one that ask one and the same backend only."""
    last: Tier | None = None
    for tier in tiers:
        if last is not None and len(tier.asks) == 1 and last.asks.keys() == tier.asks.keys():
            [to] = tier.asks
            last = Tier({to: (*last.asks[to], *tier.asks[to])}, {})
            continue
        if last is not None:
            yield last
        last = tier
    if last is not None:
        yield last


def _kept_out(tier: Tier, names: Mapping[int, tuple[Names, Names]]) -> Iterator[tuple[int, Names]]:
    """What each backend must not give in this tier: what it never gives, and what others have."""
    for to, groups in tier.asks.items():
        mine = {name for group in groups for name in group}
        served, out = names[to]
        others = (*out, *(name for name in served if name not in mine))
        yield to, tuple(one for one in others if any(covers(name, one) for name in mine))
