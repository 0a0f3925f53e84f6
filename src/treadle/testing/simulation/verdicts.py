"""What must hold when everything has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from treadle.backends.memory import MemoryBackend
from treadle.backends.memory.job import Job
from treadle.backends.memory.store import Store
from treadle.records import FINAL, Cause, JobState
from treadle.testing.simulation.audit import Audit, Life

__all__ = ["judge"]


def judge(audit: Audit, backend: MemoryBackend, accepted: Sequence[str]) -> None:
    """Note every promise that is broken at the end."""
    store = backend._shared
    with store:
        now = store.now
    for text in (*_lost(audit, store, accepted), *_left_over(store, now)):
        audit.violation(text)
    for life in audit.lives.values():
        for grant in life.grants.values():
            if grant.owed and grant.said is None and grant.holder.faithful:
                audit.violation(f"{grant} came to its end, and its foreman never said so")
    for job_id, life in audit.lives.items():
        job = store.jobs.get(job_id)
        if job is not None:
            for text in _misjudged(life, job):
                audit.violation(text)


def _lost(audit: Audit, store: Store, accepted: Sequence[str]) -> Iterator[str]:
    for job_id in accepted:
        if job_id not in store.jobs and job_id not in audit.replaced:
            yield f"job {job_id} was accepted, and is lost"
    if len(set(accepted)) != len(accepted):
        yield "one job was accepted twice"
    for job_id in store.jobs:
        if job_id not in audit.lives:
            yield f"job {job_id} is in the store, and nobody pushed it"


def _left_over(store: Store, now: float) -> Iterator[str]:
    for job in store.jobs.values():
        if job.state not in FINAL:
            yield f"job {job.id} is still {job.state}"
    if store.leases.batches:
        yield f"{len(store.leases.batches)} leases are left"
    for line in store.lines.values():
        if line.used or line.waiting:
            yield f"line {line.name!r} has {line.used} in use and {line.waiting} waiting"
    for info in store.presence.present(now).values():
        yield f"{info.name} is still present"
    for key, holder in store.unique.items():
        if holder.until is None:
            yield f"unique key {key!r} is still held by {holder.job_id}"


def _misjudged(life: Life, job: Job) -> Iterator[str]:
    """Whether what the store says of a job is what the witness saw."""
    grants = [grant for fence, grant in life.grants.items() if fence > life.since]
    won = [grant for grant in grants if grant.ended in ("Done", "Failed", "Cancelled")]
    if len(won) > 1:
        yield f"job {job.id} ended {len(won)} times: {', '.join(map(str, won))}"
    if job.state is JobState.SUCCEEDED:
        if not won or won[0].ended != "Done":
            yield f"job {job.id} succeeded, and nobody said so"
        elif won[0] is not life.latest:
            yield f"{won[0]} won, and its fence was not the highest"
        elif won[0].started is None:
            yield f"{won[0]} succeeded, and never started"
    lapsed = [grant for grant in grants if grant.ended in (None, "closed")]
    blamed = sum(
        1 for one in lapsed if one.started is not None or one.reported or one.lease.suspect
    )
    if job.crashes > blamed:
        yield f"job {job.id} is blamed for {job.crashes} crashes, and was in {blamed}"
    # A job that runs at most once fails as crashed, too, when its foreman has no time for it.
    enough = (0 if won else 1) if job.spec.at_most_once else job.spec.max_crashes
    if job.cause is Cause.CRASHED and len(lapsed) < enough:
        yield f"job {job.id} failed as crashed, and {len(lapsed)} of its leases were lost"
    tries = sum(1 for grant in grants if grant.ended in ("Again", "Failed"))
    if job.tries > tries:
        yield f"job {job.id} has {job.tries} tries, and {tries} attempts failed"
