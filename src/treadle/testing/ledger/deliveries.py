"""Rules for a broker alone: it has messages and no records, and knows no ids.

Only the processes can tell what became of a job. One may be there in two messages, and each of
these is one more end that has to be explained: by a push that was repeated, a lease that was
interrupted, which may have been between the next message and the end of the one before, or a
server that was killed before an end had reached its disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from treadle.testing.ledger.findings import Rule, Violation
from treadle.testing.ledger.history import FORGETS, Grant, History, Story

__all__ = ["carried_out", "delivered_once", "no_unexplained_delivery"]


def carried_out(history: History) -> Iterator[Violation]:
    """What was accepted was done, and nothing was given out that nobody pushed."""
    for job, story in history.stories.items():
        if story.accepted and not any(_done(history, one) for one in story.in_order()):
            yield Violation(
                rule=Rule.CONSERVATION,
                text=f"job {job} was accepted and is lost: nobody was told that it has ended",
            )
        if not story.tried:
            yield Violation(
                rule=Rule.CONSERVATION, text=f"job {job} was given out, and nobody pushed it"
            )


def _done(history: History, grant: Grant) -> bool:
    """It has ended the job, or did its work and was struck before it heard so."""
    return grant.won or (bool(grant.effects) and history.blamed(grant) is not None)


def no_unexplained_delivery(history: History) -> Iterator[Violation]:
    """A lease that ended without a verdict was interrupted, and the ledgers say by what."""
    for grant in history.grants():
        if grant.taken is None and history.blamed(grant) is None:
            yield Violation(
                rule=Rule.NO_UNEXPLAINED_REPEAT,
                text=f"{grant} was taken away, and nothing was done to its process",
            )


def delivered_once(history: History) -> Iterator[Violation]:
    """A job ends once, and once more for each message that the ledgers can explain."""
    for story in history.stories.values():
        ends = sum(
            1
            for grant in story.in_order()
            for one in grant.answers
            if one.answer == "ok" and one.verdict == "done"
        )
        most = 1 + sum(_copies(history, story))
        if ends > most:
            names = " and by ".join(str(one) for one in story.in_order() if one.won)
            yield Violation(
                rule=Rule.ONE_WINNER,
                text=f"job {story.job} was ended {ends} times, and the ledgers explain {most}: "
                f"by {names}",
            )


def _copies(history: History, story: Story) -> Iterator[int]:
    """Messages of a job beyond the first, each with its reason."""
    yield max(0, story.tried - 1)
    for grant in story.in_order():
        unsaved = (abs(one.at - at) <= FORGETS for one in grant.answers for at in history.crashes)
        if grant.taken is None or any(unsaved):
            yield 1
