"""Sessions, and keeping what they have."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.memory.advance import lose
from treadle.backends.memory.endings import fail_dependants
from treadle.backends.memory.job import RUNNING, Job
from treadle.backends.memory.store import Store
from treadle.ports import ADVANCE, Held
from treadle.records import Renewal, Session

__all__ = ["close_session", "extend"]


def extend(store: Store, session: Session, held: Sequence[Held], lease: float) -> list[Renewal]:
    """Renew leases, or give them up with a lease of 0; answers in order."""
    if lease > 0:
        store.presence.renew(session, store.now, lease)
    until = store.now + lease
    answers: list[Renewal] = []
    for one in held:
        token = one.token
        job = store.jobs.get(token.job_id)
        if (
            job is None
            or job.state is not RUNNING
            or job.fence != token.fence
            or job.nonce != token.nonce
        ):
            answers.append(Renewal.LOST)
            continue
        answers.append(Renewal.CANCEL if job.cancel_asked else Renewal.HELD)
        _report(store, job, one)
        if lease > 0:
            store.leases.extend(job, until)
        else:
            lose(store, job)
    if lease <= 0:
        fail_dependants(store, ADVANCE)
    return answers


def _report(store: Store, job: Job, one: Held) -> None:
    if one.started and not job.reported:
        job.reported = True
        job.expires = None
        store.changed(job)
    if one.note is not None:
        job.note = one.note
        store.changed(job)


def close_session(store: Store, session: Session) -> None:
    """End presence and give back every lease."""
    store.presence.close(session)
    batches = [one for one in store.leases.batches.values() if one.nonce == session.nonce]
    for job in [job for batch in batches for job in batch.held()]:
        lose(store, job, closed=True)
    fail_dependants(store, ADVANCE)
