"""Claiming jobs."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.turns import take_turns
from treadle.backends.memory.advance import advance, next_due
from treadle.backends.memory.gate import admit
from treadle.backends.memory.job import QUEUED, RUNNING, Job
from treadle.backends.memory.leases import Batch
from treadle.backends.memory.moves import wake_lines
from treadle.backends.memory.queue import Lane, Queue
from treadle.backends.memory.sessions import Seat
from treadle.backends.memory.store import Store
from treadle.ports import PARK_MAX, Claim, Claimed
from treadle.queuenames import Matcher, covered
from treadle.records import Lease, Token

__all__ = ["claim", "members", "waiting_suspects"]


def claim(store: Store, ask: Claim) -> Claimed:
    """The answer to a claim, the same one for the same request."""
    seat = store.presence.seat(ask.session)
    if ask.request <= seat.request:
        return seat.answer
    store.presence.renew(ask.session, store.now, ask.lease)
    behind = advance(store)
    taking = _Taking(store, ask, seat)
    alone = ask.holding == 0 and ask.limit > 0 and taking.suspect()
    if not alone:
        taking.named()
        taking.all_queues()
    store.leases.keep(taking.batch)
    if store.slack:
        wake_lines(store)
    seat.request = ask.request
    answer = Claimed(
        leases=tuple(taking.leases),
        more=behind or taking.full or taking.left(),
        suspects_wait=not alone and bool(waiting_suspects(store, taking.matcher)),
        next_due=next_due(store),
    )
    seat.answer = answer = store.telling(answer) if store.fates else answer
    return answer


def members(store: Store, matcher: Matcher, pattern: str, names: Sequence[str]) -> Sequence[str]:
    """Those of the sorted queues that are served under one name of a claim and not held up."""
    found = covered(names, pattern)
    if matcher.overlapping:
        place = matcher.queues.index(pattern)
        found = [name for name in found if matcher.place(name) == place]
    if store.cells.rules:
        found = [name for name in found if store.queues[name].room(store.now) > 0]
    return found


def waiting_suspects(store: Store, matcher: Matcher) -> list[tuple[int, int, Job]]:
    """The first suspect of each queue, with its place, in the order of the names of the claim."""
    if not store.suspects:
        return []
    for name in [one for one in store.suspects if not store.queues[one].suspects_queued]:
        del store.suspects[name]
    found: list[tuple[int, int, Job]] = []
    for name in store.suspects:
        queue = store.queues[name]
        place = matcher.place(name)
        job = queue.suspect()
        if place is not None and job is not None and queue.room(store.now) > 0:
            found.append((place, -job.priority * 2**60 + job.seq, job))
    return sorted(found, key=lambda entry: entry[:2])


class _Taking:
    """One claim on its way through the queues."""

    __slots__ = ("ask", "batch", "leases", "matcher", "parked", "seat", "store")

    def __init__(self, store: Store, ask: Claim, seat: Seat) -> None:
        self.store = store
        self.ask = ask
        self.seat = seat
        self.matcher = store.matcher(ask.queues, ask.exclude)
        self.batch: Batch = store.leases.open(seat.nonce, store.now + ask.lease)
        self.leases: list[Lease] = []
        # Jobs that were met and could not be leased.
        self.parked = 0

    @property
    def full(self) -> bool:
        """Whether enough jobs were parked."""
        return self.parked >= PARK_MAX

    def suspect(self) -> bool:
        """Lease one suspect, if one can be leased."""
        while not self.full:
            first = waiting_suspects(self.store, self.matcher)
            if not first:
                return False
            job = first[0][2]
            queue = self.store.queues[job.queue]
            queue.suspects_queued -= 1
            if job.plain or admit(self.store, job):
                job.reported = True
                job.expires = None
                self._lease(queue, [job])
                return True
            self.parked += 1
        return False

    def named(self) -> None:
        """Lease the jobs that are to come before all others."""
        for job_id in self.ask.first:
            if len(self.leases) >= self.ask.limit or self.full:
                return
            job = self.store.jobs.get(job_id)
            if job is not None and job.state is QUEUED and not job.suspect:
                self._lease_named(self.store.queues[job.queue], job)

    def _lease_named(self, queue: Queue, job: Job) -> None:
        store = self.store
        if self.matcher.place(queue.name) is None or queue.room(store.now) <= 0:
            return
        if job.plain or admit(store, job):
            self._lease(queue, [job])
        else:
            self.parked += 1
        # Its lane still has it.
        queue.bury()
        if not queue.ready:
            store.unlist(queue)

    def all_queues(self) -> None:
        """Lease jobs of the queues in their order."""
        store = self.store
        store.fresh_suspects = False
        for pattern in self.matcher.queues:
            places = self.ask.limit - len(self.leases)
            if places <= 0 or self.full:
                return
            names = members(store, self.matcher, pattern, store.ready)
            if len(names) == 1:
                if self._take(names[0], places):
                    store.turns[pattern] = names[0]
            elif names:
                last = take_turns(names, store.turns.get(pattern), places, self._take)
                store.turns[pattern] = last

    def left(self) -> bool:
        """Whether there is more to claim."""
        store = self.store
        return bool(store.ready) and any(
            store.queues[name].ready > 0
            for pattern in self.matcher.queues
            for name in members(store, self.matcher, pattern, store.ready)
        )

    def _take(self, name: str, wanted: int) -> int:
        queue = self.store.queues[name]
        if self.store.cells.rules:
            wanted = int(min(wanted, queue.room(self.store.now)))
        found: list[Job] = []
        while len(found) < wanted and queue.priorities and not self.full:
            priority = queue.priorities[-1]
            lane = queue.lanes[priority]
            self._drain(lane, priority, wanted - len(found), found)
            if lane:
                break
            queue.close(priority)
        if found:
            self._lease(queue, found)
        if not queue.ready:
            self.store.unlist(queue)
        return len(found)

    def _drain(self, lane: Lane, priority: int, wanted: int, found: list[Job]) -> None:
        store = self.store
        fifo, back = lane.fifo, lane.back
        while wanted and (fifo or back):
            job = lane.pop() if back else fifo.popleft()
            # It may have left, come back as a suspect, be here twice, or stand in another lane.
            if job.state is not QUEUED or job.priority != priority or job.suspect:
                continue
            if not job.plain and not admit(store, job):
                self.parked += 1
                if self.parked >= PARK_MAX:
                    return
                continue
            job.state = RUNNING
            found.append(job)
            wanted -= 1

    def _lease(self, queue: Queue, jobs: list[Job]) -> None:
        """Write down that these jobs run now, and make their leases."""
        store, seat = self.store, self.seat
        now, until, nonce, number = store.now, self.batch.until, seat.nonce, self.batch.number
        holder, watched = seat.info.name, store.waiters.jobs
        queued, running, leases = queue.queued.jobs, queue.running.jobs, self.leases
        for job in jobs:
            seq = job.seq
            del queued[seq]
            running[seq] = job
            fence = job.fence + 1
            job.state = RUNNING
            job.fence = fence
            job.nonce = nonce
            job.holder = holder
            job.started = now
            job.lease_until = until
            job.batch = number
            job.version += 1
            token = Token(job.id, fence, nonce)
            if fence == 1:
                lease = Lease(token=token, spec=job.spec, created=job.created, started=now)
            else:
                lease = _repeated(job, token)
            leases.append(lease)
            if watched:
                store.waiters.changed(job.id, ended=False)
        self.batch.jobs += jobs
        for above in queue.up:
            above.sub_running += len(jobs)
        if queue.running.fresh is not None:
            for job in jobs:
                queue.running.note(job.seq)


def _repeated(job: Job, token: Token) -> Lease:
    """The lease of a job that was leased before, with what is left of that."""
    return Lease(
        token=token,
        spec=job.spec,
        tries=job.tries,
        crashes=job.crashes,
        releases=job.releases,
        aside_since=job.aside_since,
        suspect=job.suspect,
        created=job.created,
        started=job.started or 0.0,
        note=job.note,
    )
