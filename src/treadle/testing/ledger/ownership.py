"""Rules of who may run and end a job: one at a time, in the order of the fences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from treadle.testing.ledger.findings import Rule, Violation
from treadle.testing.ledger.history import Grant, History, Story

__all__ = ["fences_grow", "no_run_after_end", "one_winner"]


def no_run_after_end(history: History) -> Iterator[Violation]:
    """Nothing starts once its end was answered, unless somebody asked for it to run again.

    A process that is frozen between its claim and the first line of the job does not know; it
    alone is excused.
    """
    for story in history.stories.values():
        for winner in (grant for grant in story.in_order() if grant.won):
            ended = winner.taken.at if winner.taken is not None else 0.0
            for grant in story.in_order():
                for start in grant.starts:
                    if start <= ended or _retried(story, ended, start):
                        continue
                    if not _slept_before(history, grant, start):
                        yield Violation(
                            rule=Rule.NO_RUN_AFTER_END,
                            text=f"{grant} started {start - ended:.3f} s after the end by fence "
                            f"{winner.fence} in {winner.process} was answered",
                        )


def _retried(story: Story, ended: float, start: float) -> bool:
    return any(ended <= at <= start for at in story.retried)


def _slept_before(history: History, grant: Grant, start: float) -> bool:
    return history.process(grant.process).frozen_between(grant.begin, start)


def one_winner(history: History) -> Iterator[Violation]:
    """One lease ends a job, and none was given after it."""
    for story in history.stories.values():
        winners = [grant for grant in story.in_order() if grant.won]
        if len(winners) > 1 + len(story.retried):
            names = " and by ".join(f"fence {one.fence} in {one.process}" for one in winners)
            yield Violation(
                rule=Rule.ONE_WINNER,
                text=f"job {story.job} was ended {len(winners)} times: {names}",
            )
        for grant in story.in_order():
            accepted = [one for one in grant.answers if one.answer == "ok"]
            if len(accepted) > 1:
                yield Violation(
                    rule=Rule.ONE_WINNER,
                    text=f"{grant}: its verdict was carried out {len(accepted)} times; a repeat "
                    "is to be answered 'already'",
                )
        if winners and not story.retried:
            yield from _later_leases(story, winners[-1])


def _later_leases(story: Story, winner: Grant) -> Iterator[Violation]:
    for grant in story.in_order():
        if grant.fence > winner.fence:
            yield Violation(
                rule=Rule.ONE_WINNER,
                text=f"job {story.job} was ended by fence {winner.fence} in {winner.process}, "
                f"although fence {grant.fence} was given to {grant.process}",
            )


def fences_grow(history: History) -> Iterator[Violation]:
    """A fence goes to one process, starts once, and later leases have higher ones."""
    for story in history.stories.values():
        grants = story.in_order()
        for one, other in pairwise(grants):
            if one.fence == other.fence and not (
                history.forgotten(one) or history.forgotten(other)
            ):
                yield Violation(
                    rule=Rule.FENCES_GROW,
                    text=f"{one}: the same fence was given to {other.process}",
                )
        for grant in grants:
            if len(grant.starts) > 1 and not history.forgotten(grant):
                yield Violation(
                    rule=Rule.FENCES_GROW, text=f"{grant} started {len(grant.starts)} times"
                )
        given = [(grant.granted[0].since, grant) for grant in grants if grant.granted]
        for (since, one), (until, other) in pairwise(given):
            if until < since:
                yield Violation(
                    rule=Rule.FENCES_GROW,
                    text=f"{other} was given before fence {one.fence}, by the clock of the store",
                )
        yield from _starts_in_order(history, grants)


def _starts_in_order(history: History, grants: list[Grant]) -> Iterator[Violation]:
    """A lease does not start after a later one has, unless its process was frozen meanwhile."""
    for grant in grants:
        later = [other.starts[0] for other in grants if other.fence > grant.fence and other.starts]
        if not later or not grant.starts or grant.starts[0] <= min(later):
            continue
        if not _slept_before(history, grant, grant.starts[0]):
            yield Violation(
                rule=Rule.FENCES_GROW, text=f"{grant} started after a higher fence had started"
            )
