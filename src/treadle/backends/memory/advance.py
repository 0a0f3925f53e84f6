"""Moving time forward: what is due, lapsed, expired or no longer kept."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop

from treadle.backends.common.lapses import Lapse, Lost, lapse, remember
from treadle.backends.memory.endings import fail_dependants, fated, finish, remove
from treadle.backends.memory.index import Lazy
from treadle.backends.memory.job import CANCELLED, FAILED, QUEUED, Job
from treadle.backends.memory.moves import (
    arrive,
    leave,
    release_units,
    to_queue,
    wake_lines,
)
from treadle.backends.memory.permits import Grant, Place
from treadle.backends.memory.store import Store
from treadle.failpoints import failpoint
from treadle.ports import ADVANCE
from treadle.records import Attempt, Cause

__all__ = ["advance", "advance_all", "drop_grant", "drop_place", "lose", "next_due"]

_SWEEP = 2 * ADVANCE


def advance(store: Store) -> bool:
    """Move on what the time has come for, a bounded number of each kind; whether there is more."""
    if not store.has_to_move:
        return False
    now = store.now
    more = _promote(store)
    more |= _lapse(store, now)
    more |= _move(store, store.expiring, _expire)
    more |= sweep(store, _SWEEP)
    _lapse_shared(store, now)
    more |= bool(store.cascade)
    fail_dependants(store, ADVANCE)
    if store.slack:
        wake_lines(store)
    return more


def advance_all(store: Store) -> None:
    """Move on everything that the time has come for, so that what is read is exact."""
    while advance(store):
        pass


def _promote(store: Store) -> bool:
    heap = store.scheduled.heap
    if not heap or heap[0][0] > store.now:
        return False
    more = _move(store, store.scheduled, _come_due)
    failpoint("promote.sent_no_reply")
    failpoint("promote.after_reply")
    return more


def _come_due(store: Store, job: Job) -> None:
    failpoint("promote.before_send")
    arrive(store, job)


def _move(store: Store, times: Lazy, on: Callable[[Store, Job], None]) -> bool:
    heap, now = times.heap, store.now
    if not heap or heap[0][0] > now:
        return False
    for _ in range(ADVANCE):
        job = times.due(now)
        if job is None:
            return False
        on(store, job)
    return True


def _lapse(store: Store, now: float) -> bool:
    until = store.leases.next()
    if until is None or until > now:
        return False
    # Once for all: there is nothing to roll back here, so between two jobs is no place to fail.
    failpoint("reap.before_send")
    late = store.leases.due(now, ADVANCE)
    for job in late:
        lose(store, job)
    failpoint("reap.sent_no_reply")
    failpoint("reap.after_reply")
    return len(late) == ADVANCE


def _expire(store: Store, job: Job) -> None:
    leave(store, job)
    finish(store, job, FAILED, Cause.EXPIRED)
    fated(store, job)


def sweep(store: Store, most: int) -> bool:
    """Remove finished jobs and tombstones whose time is over."""
    left = most
    while left:
        job = store.kept.due(store.now)
        if job is None:
            break
        remove(store, job)
        left -= 1
    windows = store.windows
    while windows and windows[0][0] <= store.now:
        _forget_window(store)
    return store.tombs.purge(store.now - store.request_ttl, most) or not left


def _forget_window(store: Store) -> None:
    until, key = heappop(store.windows)
    holder = store.unique.get(key)
    if holder is not None and holder.until == until:
        del store.unique[key]


def _lapse_shared(store: Store, now: float) -> None:
    while (found := store.permits.due(now)) is not None:
        if isinstance(found, Grant):
            drop_grant(store, found)
        else:
            drop_place(store, found)
    for name in store.cells.lapse(now):
        queue = store.queues.get(name)
        if queue is not None:
            queue.rule = None
            store.stirred(name)


def drop_grant(store: Store, grant: Grant) -> None:
    """End an acquisition."""
    del store.permits.grants[grant.id]
    release_units(store, grant.holds)


def drop_place(store: Store, place: Place) -> None:
    """Leave the lines of a request."""
    del store.permits.places[place.id]
    for name in place.lines:
        line = store.lines.get(name)
        if line is not None:
            line.tickets.pop(place.id, None)
            store.slack.append(name)


def lose(store: Store, job: Job, *, closed: bool = False) -> None:
    """End a lease without a verdict."""
    lost = Lost(
        at_most_once=job.spec.at_most_once,
        cancel_asked=job.cancel_asked,
        started=job.reported,
        crashes=job.crashes,
        max_crashes=job.spec.max_crashes,
        closed=closed,
    )
    number = job.tries + job.crashes + 1
    if job.reported:
        attempt = Attempt(
            number=number,
            cause=Cause.CRASHED,
            started=job.started,
            ended=store.now,
            holder=job.holder,
        )
        job.attempts = remember(job.attempts, attempt)
        job.crashes += 1
    end_lease(store, job)
    match lapse(lost):
        case Lapse.FAILED:
            finish(store, job, FAILED, Cause.CRASHED)
        case Lapse.CANCELLED:
            finish(store, job, CANCELLED)
        case Lapse.SUSPECT:
            job.suspect = True
            to_queue(store, job)
            watch_expiry(store, job)
        case Lapse.QUEUED:
            to_queue(store, job)
            watch_expiry(store, job)
    if lost.started or job.state is not QUEUED:
        fated(store, job, number)


def end_lease(store: Store, job: Job) -> None:
    """Take the lease from a running job, and what it held with it."""
    store.leases.drop(job)
    job.paid = job.reported = False
    if job.holds:
        release_units(store, job.holds)
        job.holds = ()


def watch_expiry(store: Store, job: Job) -> None:
    """A job that goes back without having started may still expire."""
    if job.expires is not None:
        store.expiring.add(job.expires, job)


def next_due(store: Store, *, everything: bool = False) -> float | None:
    """Seconds until the next job is due or lapses, or with ``everything`` anything happens."""
    ends: list[float] = []
    head = store.scheduled.head()
    if head is not None:
        ends.append(head[0])
    lapses = store.leases.next()
    if lapses is not None:
        ends.append(lapses)
    if everything:
        expires = store.expiring.head()
        rest = (
            expires[0] if expires is not None else None,
            store.permits.next(),
            store.cells.next(store.now),
        )
        ends += [end for end in rest if end is not None]
    return max(0.0, min(ends) - store.now) if ends else None
