"""The ledgers of a run against what the store has: what was broken, and the figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from treadle.records import FINAL
from treadle.testing.ledger.accounts import (
    conservation,
    no_residue,
    no_unexplained_repeat,
    others_unharmed,
    said_aloud,
)
from treadle.testing.ledger.bounds import (
    bounded_recovery,
    limits_hold,
    liveness,
    mutual_exclusion,
    recoveries,
    standstill,
    uniqueness,
)
from treadle.testing.ledger.deliveries import (
    carried_out,
    delivered_once,
    no_unexplained_delivery,
)
from treadle.testing.ledger.dump import Dump
from treadle.testing.ledger.findings import Figures, Findings, Violation
from treadle.testing.ledger.history import History, Process, Reason
from treadle.testing.ledger.ownership import fences_grow, no_run_after_end, one_winner

__all__ = ["check"]


def check(
    ledgers: Path | History,
    store: Dump | None,
    *,
    drained: bool = True,
    recovery: float | None = None,
    longest_standstill: float | None = None,
    late: float = 1.0,
    slow: float = math.inf,
    present: Mapping[str, int] | None = None,
) -> Findings:
    """Compare what the processes wrote with what the store has.

    Args:
        ledgers: the directory, or what was read from it.
        store: all of it, from :func:`~treadle.testing.ledger.dump`. ``None`` for a broker without a
            companion, which cannot be looked into and promises less: a job may be there twice, for
            a reason that the ledgers know.
        drained: everything was given the time to end, and every foreman has stopped or its
            presence has lapsed.
        recovery: seconds within which an interrupted job must be leased again.
        longest_standstill: seconds within which some job must end.
        late: seconds that a lease may come later than the place in a rate that was kept for it.
        slow: seconds from which on an answer of the store excuses a lost lease by being late, as it
            may be where others keep the machine busy. Without, somebody must have been frozen.
        present: foremen, by name, that may be there still.
    """
    history = History.read(ledgers) if isinstance(ledgers, Path) else ledgers
    history.slow = slow

    def of_records(store: Dump) -> Iterator[Violation]:
        yield from conservation(history, store, drained=drained)
        yield from no_run_after_end(history)
        yield from one_winner(history)
        yield from fences_grow(history)
        yield from mutual_exclusion(history, store)
        yield from uniqueness(history, store)
        yield from limits_hold(history, store, late)
        yield from others_unharmed(history, store)
        if drained:
            yield from no_unexplained_repeat(history)
            yield from no_residue(store, present=present)

    def of_messages() -> Iterator[Violation]:
        yield from delivered_once(history)
        if drained:
            yield from carried_out(history)
            yield from no_unexplained_delivery(history)

    def rules() -> Iterator[Violation]:
        yield from of_messages() if store is None else of_records(store)
        yield from said_aloud(history, store)
        if recovery is not None:
            yield from bounded_recovery(history, recovery)
        if longest_standstill is not None:
            yield from liveness(history, longest_standstill)

    return Findings(violations=tuple(rules()), figures=_figures(history, store))


def _figures(history: History, store: Dump | None) -> Figures:
    if store is None:
        final = {job for job, one in history.stories.items() if any(g.won for g in one.in_order())}
    else:
        final = {record.id for record in store.records if record.state in FINAL}
    accepted = [job for job, story in history.stories.items() if story.accepted]
    effects = repeats = refused = 0
    for story in history.stories.values():
        grants = story.in_order()
        times = [len(one.effects) for one in grants]
        wanted = sum(len(one.effects) for one in grants if one.taken is not None and not one.won)
        effects += sum(times)
        repeats += max(0, sum(times) - wanted - 1)
        refused += sum(one.answer in {"lost", "unknown"} for each in grants for one in each.answers)
    processes = history.processes.values()
    return Figures(
        accepted=len(accepted),
        ended=sum(job in final for job in accepted),
        effects=effects,
        repeats=repeats,
        kills=sum(one.killed is not None for one in processes),
        kills_with_work=sum(
            one.killed is not None and _at_work(one, one.killed) for one in processes
        ),
        freezes=sum(len(one.frozen) for one in processes),
        freezes_with_work=sum(_at_work(one, start) for one in processes for start, _ in one.frozen),
        refused=refused,
        slow=sum(
            one.taken is None and history.blamed(one) is Reason.SLOW for one in history.grants()
        ),
        recovery=max((seconds for seconds, _, _ in recoveries(history)), default=0.0),
        standstill=standstill(history),
    )


def _at_work(process: Process, at: float) -> bool:
    return any(
        grant.starts
        and grant.starts[0] <= at
        and not any(answer.at <= at for answer in grant.answers)
        for grant in process.grants
    )
