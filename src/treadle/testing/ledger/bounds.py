"""Rules with a number in them: how many at once, how often, how late."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from treadle.records import Algorithm, Hold, JobRecord, Scope, Spend
from treadle.testing.ledger.dump import Dump
from treadle.testing.ledger.findings import Rule, Violation
from treadle.testing.ledger.history import Grant, History, Story

__all__ = [
    "bounded_recovery",
    "limits_hold",
    "liveness",
    "mutual_exclusion",
    "recoveries",
    "standstill",
    "uniqueness",
]

# A span for certain: the leases that won were valid from their first line to their effect.
_Span = tuple[float, float, int, Grant]


def recoveries(history: History) -> Iterator[tuple[float, Grant, Grant]]:
    """For each lease that a fault interrupted: how long until the next one of the job."""
    for story in history.stories.values():
        grants = [grant for grant in story.in_order() if grant.granted]
        for one, other in pairwise(grants):
            if one.taken is not None:
                continue
            process = history.process(one.process)
            faults = [start for start, _ in process.frozen if start >= one.begin]
            if process.killed is not None:
                faults.append(max(process.killed, one.begin))
            struck = min((at for at in faults if at <= other.given), default=None)
            if struck is not None:
                yield other.given - struck, one, other


def bounded_recovery(history: History, bound: float) -> Iterator[Violation]:
    """A job that a fault interrupts is leased again within ``bound`` seconds."""
    for seconds, one, other in recoveries(history):
        if seconds > bound:
            yield Violation(
                rule=Rule.BOUNDED_RECOVERY,
                text=f"{one} was interrupted, and given to {other.process} only {seconds:.2f} s "
                f"later; the bound is {bound:g} s",
            )


def standstill(history: History) -> float:
    """The longest time in which no job ended, between the first push and the last end."""
    pushes = [at for story in history.stories.values() for at in story.accepted]
    ends = [one.at for grant in history.grants() for one in grant.answers if one.answer == "ok"]
    if not pushes or not ends:
        return 0.0
    times = sorted([min(pushes), *ends])
    return max(later - earlier for earlier, later in pairwise(times))


def liveness(history: History, bound: float) -> Iterator[Violation]:
    """There is no stretch of ``bound`` seconds in which no job ends."""
    longest = standstill(history)
    if longest > bound:
        yield Violation(
            rule=Rule.LIVENESS,
            text=f"for {longest:.2f} s no job ended; the bound is {bound:g} s",
        )


def mutual_exclusion(history: History, store: Dump) -> Iterator[Violation]:
    """No more leases than the slots of a key are at work at once; guarded writes do not go back."""
    spans: defaultdict[str, list[_Span]] = defaultdict(list)
    slots: dict[str, int] = {}
    for record in store.records:
        asked = _holds(record)
        story = history.stories.get(record.id)
        for name, number, units in asked:
            slots[name] = max(slots.get(name, 0), number)
            if story is not None:
                spans[name] += [(*span, units, grant) for span, grant in _certain(story)]
    for name, taken in spans.items():
        yield from _crowded(name, slots[name], taken)
    for resource, writes in history.passed.items():
        for one, other in pairwise(writes):
            if other.fence < one.fence:
                yield Violation(
                    rule=Rule.MUTUAL_EXCLUSION,
                    text=f"{resource} took a write with fence {other.fence} after one with "
                    f"{one.fence}",
                )


def _holds(record: JobRecord) -> Iterator[tuple[str, int, int]]:
    spec = record.spec
    if spec.key is not None:
        yield f"key {spec.key}", spec.key_slots, 1
    for ask in spec.asks:
        if isinstance(ask, Hold):
            yield f"limit {ask.key}", ask.slots, ask.units


def _certain(story: Story) -> Iterator[tuple[tuple[float, float], Grant]]:
    for grant in story.in_order():
        if grant.taken is not None and grant.starts:
            yield (grant.starts[0], max(grant.starts + grant.effects)), grant


def _crowded(name: str, slots: int, spans: list[_Span]) -> Iterator[Violation]:
    moments: list[tuple[float, int, int, Grant]] = []
    for start, end, units, grant in spans:
        moments += [(start, 1, units, grant), (end, 0, -units, grant)]
    moments.sort(key=lambda moment: moment[:3])
    inside: dict[Grant, int] = {}
    for _, begins, units, grant in moments:
        if not begins:
            inside.pop(grant, None)
            continue
        inside[grant] = units
        if sum(inside.values()) > slots:
            names = "; ".join(map(str, inside))
            yield Violation(
                rule=Rule.MUTUAL_EXCLUSION,
                text=f"{name} has {slots} slots, and {sum(inside.values())} were taken at once: "
                f"{names}",
            )


def uniqueness(history: History, store: Dump) -> Iterator[Violation]:
    """Two jobs with one unique key are never alive at once, for all that the ledgers can tell."""
    spans: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for record in store.records:
        unique, story = record.spec.unique, history.stories.get(record.id)
        if unique is None or unique.scope is not Scope.UNTIL_DONE or story is None:
            continue
        works = [end for (_, end), grant in _certain(story) if grant.won]
        if story.accepted and works and not story.retried:
            spans[unique.key].append((story.accepted[0], max(works), record.id))
    for key, taken in spans.items():
        taken.sort()
        for (_, end, one), (start, _, other) in pairwise(taken):
            if start < end:
                yield Violation(
                    rule=Rule.UNIQUENESS,
                    text=f"jobs {one} and {other} had the unique key {key!r} at the same time",
                )


def limits_hold(history: History, store: Dump, late: float) -> Iterator[Violation]:
    """Leases under a rate come no denser than it allows, each at most ``late`` seconds late.

    A job may be leased later than the place that was reserved for it, so that two come closer
    together than their places are; ``late`` is how much later.
    """
    granted: defaultdict[Spend, list[tuple[float, float]]] = defaultdict(list)
    for record in store.records:
        story = history.stories.get(record.id)
        grants = story.in_order() if story is not None else []
        for ask in record.spec.asks:
            if isinstance(ask, Spend) and ask.algorithm is Algorithm.GCRA:
                rate = Spend(key=ask.key, count=ask.count, per=ask.per, burst=ask.burst)
                granted[rate] += [(one.granted[0].since, ask.cost) for one in grants if one.granted]
    for rate, times in granted.items():
        each = rate.per / rate.count
        patience = each * (rate.burst or rate.count) + late + 1e-3
        arrival = 0.0
        for at, cost in sorted(times):
            arrival = max(arrival, at) + cost * each
            if arrival - at > patience:
                yield Violation(
                    rule=Rule.LIMITS_HOLD,
                    text=f"rate {rate.key} ({rate.count:g} in {rate.per:g} s) was overdrawn by "
                    f"{arrival - at - patience:.3f} s of it",
                )
                break
