"""Rules of bookkeeping: every job is somewhere, and whatever was lost has its fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from treadle.records import FINAL, Cause, JobRecord, JobState
from treadle.testing.ledger.dump import Dump
from treadle.testing.ledger.findings import Rule, Violation
from treadle.testing.ledger.history import Grant, History, Story

__all__ = [
    "conservation",
    "no_residue",
    "no_unexplained_repeat",
    "others_unharmed",
    "said_aloud",
]

# Nobody's verdict says so.
_BY_ITSELF = frozenset({Cause.EXPIRED, Cause.DEPENDENCY})


def conservation(history: History, store: Dump, *, drained: bool) -> Iterator[Violation]:
    """What was accepted is in the store, once; nothing is that nobody pushed."""

    def broken(text: str) -> Violation:
        return Violation(rule=Rule.CONSERVATION, text=text)

    times = Counter(record.id for record in store.records)
    records = {record.id: record for record in store.records}
    for job, story in history.stories.items():
        if story.accepted and job not in times:
            yield broken(f"job {job} was accepted and is lost: the store does not have it")
        if len(story.accepted) > story.tried:
            yield broken(f"job {job} was accepted and never pushed")
    for job, number in times.items():
        if number > 1:
            yield broken(f"job {job} is in the store {number} times")
        known = history.stories.get(job)
        if known is None or not known.tried:
            yield broken(f"job {job} is in the store, and nobody pushed it")
        elif drained and records[job].state not in FINAL:
            yield broken(f"job {job} has not ended: it is {_described(records[job])}")
        elif records[job].state is JobState.SUCCEEDED:
            yield from map(broken, _unwitnessed(history, known, records[job]))


def _described(record: JobRecord) -> str:
    reason = f" ({record.reason})" if record.reason else ""
    holder = f", held by {record.holder}" if record.holder else ""
    return f"{record.state}{reason}, fence {record.fence}{holder}"


def _unwitnessed(history: History, story: Story, record: JobRecord) -> Iterator[str]:
    """A success without a run, or without a foreman that was told so."""
    last = [grant for grant in story.in_order() if grant.fence == record.fence]
    if not any(grant.starts for grant in last):
        yield f"job {story.job} succeeded with fence {record.fence}, which never started"
    elif not any(grant.won for grant in last) and not any(map(history.blamed, last)):
        yield f"job {story.job} succeeded, but fence {record.fence} was never answered so"


def no_unexplained_repeat(history: History) -> Iterator[Violation]:
    """A lease that ended without a verdict was interrupted, and the ledgers say by what."""
    for grant in history.grants():
        if len(grant.effects) > 1 and not history.forgotten(grant):
            yield Violation(
                rule=Rule.NO_UNEXPLAINED_REPEAT,
                text=f"{grant} had its effect {len(grant.effects)} times",
            )
        if grant.taken is None and history.blamed(grant) is None:
            again = "" if not grant.effects else ", though it had had its effect"
            yield Violation(
                rule=Rule.NO_UNEXPLAINED_REPEAT,
                text=f"{grant} was {_fate(grant)}{again}, and nothing was done to its process",
            )


def _fate(grant: Grant) -> str:
    if grant.answers:
        return f"answered {grant.answers[-1].answer!r}"
    return "started and never settled" if grant.starts else "given and never started"


def others_unharmed(history: History, store: Dump) -> Iterator[Violation]:
    """A crash is counted only against a job that had started where a fault was."""
    for record in store.records:
        story = history.stories.get(record.id)
        grants = story.in_order() if story is not None else []
        hit = sum(1 for one in grants if one.taken is None and history.blamed(one) is not None)
        if any(one.killed is not None for one in history.processes.values()):
            # Who is killed between the commit of a claim and its answer writes no line of it.
            hit += record.fence - len({one.fence for one in grants})
        if record.crashes > hit:
            yield Violation(
                rule=Rule.OTHERS_UNHARMED,
                text=f"job {record.id} has {record.crashes} crashes, and {hit} of its leases were "
                "interrupted by a fault",
            )


def no_residue(store: Dump, *, present: Mapping[str, int] | None = None) -> Iterator[Violation]:
    """Nobody is present who has left, and nobody holds what has ended."""
    allowed = dict(present or {})
    for session in store.sessions:
        if allowed.get(session.name, 0) > 0:
            allowed[session.name] -= 1
            continue
        yield Violation(
            rule=Rule.NO_RESIDUE,
            text=f"foreman {session.name} (process {session.pid}) is still said to be present",
        )
    for record in store.records:
        if record.state is not JobState.RUNNING and record.lease_until is not None:
            yield Violation(
                rule=Rule.NO_RESIDUE,
                text=f"job {record.id} is {record.state}, and its lease goes on until "
                f"{record.lease_until}",
            )


def said_aloud(history: History, store: Dump | None) -> Iterator[Violation]:
    """What must be told to the observers of a process was, unless that was killed.

    Each refused verdict, and each job that an answer said to have ended by itself. Where nothing
    was done to anybody, no such answer was lost, and the store has none that no process was told.
    """
    for process in history.processes.values():
        if process.killed is not None:
            continue
        for grant in process.grants:
            refused = [one for one in grant.answers if one.answer in {"lost", "unknown"}]
            if len(refused) > process.said["job.lost", grant.job]:
                yield Violation(
                    rule=Rule.SAID_ALOUD,
                    text=f"{grant}: a verdict was refused ({refused[-1].answer}), and no event "
                    "job.lost says so",
                )
        for (event, job), times in process.fates.items():
            if times > process.said[event, job]:
                yield Violation(
                    rule=Rule.SAID_ALOUD,
                    text=f"job {job} ended by itself or crashed, {process.name} was answered so "
                    f"{times} times, and no event {event} says so",
                )
    if store is not None and not history.struck:
        yield from _ended_in_silence(history, store)


def _ended_in_silence(history: History, store: Dump) -> Iterator[Violation]:
    told = {job for process in history.processes.values() for _, job in process.fates}
    for record in store.records:
        if record.cause in _BY_ITSELF and record.id not in told:
            yield Violation(
                rule=Rule.SAID_ALOUD,
                text=f"job {record.id} has failed ({record.cause}), and no answer of the store "
                "said so",
            )
