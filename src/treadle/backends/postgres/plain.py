"""Jobs with nothing special about them: one call for many, without a turn to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from treadle.backends.common.damage import agree, facts_of, readable
from treadle.backends.common.jobrow import Code, Facts, encode, flags_of
from treadle.backends.common.sessions import closed
from treadle.backends.postgres.ends import give_up, tell
from treadle.backends.postgres.seen import Near, Nearby
from treadle.backends.postgres.store import Store
from treadle.backends.postgres.tx import Tx
from treadle.backends.postgres.wake import Notice
from treadle.clock import SystemClock
from treadle.ports import Claim, Claimed, Held, Settlement
from treadle.queuenames import Matcher
from treadle.records import (
    At,
    In,
    Lease,
    NewJob,
    Pushed,
    PushStatus,
    Renewal,
    Session,
    Settled,
    Token,
)
from treadle.verdicts import Done

__all__ = ["Plain", "all_plain", "push_values", "pushed"]

_CREATED = Pushed(PushStatus.CREATED)
_NO_FACTS = Facts()
_GRANTS_MOST = 100_000


class _Grant(msgspec.Struct, frozen=True, gc=False):
    """A lease that this process was granted; each use of it is proved by the store."""

    seq: int
    fence: int
    nonce: int
    queue: str


class Plain:
    """The verbs for plain jobs; each says what it could not do, for the steps that take turns.

    Args:
        store: where they live.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._grants: dict[str, _Grant] = {}
        self._nearby = Nearby(SystemClock())

    # ------------------------------------------------------------- push

    async def push(self, jobs: Sequence[NewJob]) -> list[Pushed | None]:
        """The answers, in order; ``None`` for a job that must be looked at more closely."""
        if not all_plain(jobs):
            return [None] * len(jobs)
        [row] = await self.store.call("push_plain", *push_values(self.store, jobs))
        answers, notice = pushed(jobs, row)
        self.store.tell(notice, row[0])
        return answers

    # ------------------------------------------------------------- claim

    async def claim(self, ask: Claim, matcher: Matcher) -> Claimed | None:
        """The leases, and what of them cannot be read; ``None`` when it takes a turn.

        Raises:
            LeaseLost: the session is closed.
        """
        store = self.store
        nonce, since = ask.session.nonce, store.since
        names = ask.queues, ask.exclude
        # A test with a clock of its own wants all in order.
        near = Near() if store.now is not None else self._nearby.of(names)
        *rows, last = await store.call(
            "claim_plain",
            store.now,
            since.lapsed,
            nonce,
            ask.request,
            ask.limit,
            matcher.queues,
            ask.exclude,
            matcher.overlapping,
            ask.lease,
            ask.session.info.name,
            store.settings.request_ttl,
            *msgspec.structs.astuple(near),
            since.kept,
            since.gone,
        )
        if last["fence"] == 2:
            raise closed(ask.session)
        if last["fence"] == 1:
            return None
        now, next_at = last["created"], last["started"]
        cost: int | None = last["crashes"]
        if cost is not None:
            store.saw(now)
        store.swept(last["kept"], last["gone"])
        went = Near(last["queue"], last["flags"], last["seq"])
        self._nearby.went(names, went, cost)
        leases: list[Lease] = []
        damaged: list[int] = []
        for row in rows:
            lease = self._lease(row, nonce)
            if lease is None:
                damaged.append(row["seq"])
            else:
                leases.append(lease)
        if damaged:
            await store.write(lambda tx: _set_aside(tx, damaged))
        if len(self._grants) > _GRANTS_MOST:
            self._grants.clear()
        changed = tuple(row["id"] for row in rows)
        earliest = now + ask.lease if rows else None
        store.tell(Notice(changed=changed, earliest=earliest), now)
        return Claimed(
            leases=tuple(leases),
            more=bool(last["tries"]),
            next_due=None if next_at is None else max(0.0, next_at - now),
        )

    def _lease(self, row: Sequence[Any], nonce: int) -> Lease | None:
        """The lease of a job that was granted; ``None`` when it cannot be read."""
        job_id, fence, tries, crashes, created, started, seq, flags, queue, facts, body, *_ = row
        spec = readable(body, job_id, queue)
        if spec is None or not agree(flags, spec):
            return None
        self._grants[job_id] = _Grant(seq, fence, nonce, queue)
        known = _NO_FACTS if facts is None else facts_of(Code.RUNNING, facts)
        return Lease(
            token=Token(job_id, fence, nonce),
            spec=spec,
            tries=tries,
            crashes=crashes,
            releases=known.releases,
            aside_since=known.aside_since,
            created=created,
            started=started,
            note=known.note,
        )

    # ------------------------------------------------------------- settle

    async def settle(self, ends: Sequence[Settlement]) -> list[Settled | None]:
        """The answers, in order; ``None`` for an end that must be looked at more closely."""
        answers: list[Settled | None] = [None] * len(ends)
        places: list[int] = []
        values: list[tuple[Any, ...]] = []
        seen: set[str] = set()
        for place, end in enumerate(ends):
            grant = self._grants.get(end.token.job_id)
            if grant is not None and end.token.job_id not in seen and _ends_plainly(end, grant):
                seen.add(end.token.job_id)
                places.append(place)
                result = cast("Done", end.verdict).result
                values.append((grant.seq, *msgspec.structs.astuple(end.token), result))
        if not values:
            return answers
        store = self.store
        rows = await store.call("succeed_plain", store.now, *map(list, zip(*values, strict=True)))
        ended: list[str] = []
        freed: dict[str, int] = {}
        for row in rows:
            place = places[int(row[0]) - 1]
            job_id = ends[place].token.job_id
            answers[place] = Settled.OK
            ended.append(job_id)
            queue = self._grants.pop(job_id).queue
            freed[queue] = freed.get(queue, 0) + 1
        if ended:
            store.tell(Notice(ended=tuple(ended), freed=freed), 0.0)
        return answers

    # ------------------------------------------------------------- extend

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> list[Renewal | None]:
        """The answers, in order; ``None`` for a lease that must be looked at more closely."""
        answers: list[Renewal | None] = [None] * len(held)
        places = [place for place, item in enumerate(held) if item.note is None]
        if lease <= 0 or len({item.token.job_id for item in held}) < len(held):
            return answers
        tokens = [held[place].token for place in places]
        store = self.store
        rows = await store.call(
            "extend_plain",
            store.now,
            session.nonce,
            lease,
            [token.job_id for token in tokens],
            [token.fence for token in tokens],
            [token.nonce for token in tokens],
            [held[place].started for place in places],
        )
        changed: list[str] = []
        for number, asked, has_changed in rows:
            place = places[int(number) - 1]
            answers[place] = Renewal.CANCEL if asked else Renewal.HELD
            if has_changed:
                changed.append(held[place].token.job_id)
        if changed:
            store.tell(Notice(changed=tuple(changed)), 0.0)
        return answers


def _is_plain(job: NewJob) -> bool:
    """Whether nothing has to be looked at to push a job."""
    return (
        job.unique is None
        and job.key is None
        and job.after is None
        and job.bound is None
        and (job.due is None or job.expires is None or type(job.due) is type(job.expires))
    )


def all_plain(jobs: Sequence[NewJob]) -> bool:
    """Whether one call can push them."""
    return len({job.id for job in jobs}) == len(jobs) and all(map(_is_plain, jobs))


def push_values(store: Store, jobs: Sequence[NewJob]) -> list[Any]:
    """What the call that pushes plain jobs is given."""
    return [
        store.now,
        [job.id for job in jobs],
        [job.queue for job in jobs],
        [-job.priority for job in jobs],
        [flags_of(job) for job in jobs],
        [job.keep.succeeded for job in jobs],
        [job.flow for job in jobs],
        [_seconds(job.due) for job in jobs],
        [_seconds(job.expires) for job in jobs],
        [type(job.due or job.expires) is In for job in jobs],
        [encode(job) for job in jobs],
    ]


def pushed(jobs: Sequence[NewJob], row: Sequence[Any]) -> tuple[list[Pushed | None], Notice]:
    """What that call has answered: ``None`` for a job that is known, and what others are told."""
    _, known, earliest = row
    again: set[str] = set(known or ())
    answers = [None if job.id in again else _CREATED for job in jobs]
    return answers, Notice(ready=tuple({job.queue for job in jobs}), earliest=earliest)


def _seconds(when: In | At | None) -> float | None:
    if when is None:
        return None
    return when.seconds if isinstance(when, In) else when.timestamp


def _ends_plainly(end: Settlement, grant: _Grant) -> bool:
    """Whether nothing has to be done but to write that the job succeeded."""
    verdict, token = end.verdict, end.token
    return (
        type(verdict) is Done
        and verdict.skipped is None
        and not end.follow_ups
        and end.note is None
        and (grant.fence, grant.nonce) == (token.fence, token.nonce)
    )


async def _set_aside(tx: Tx, seqs: Sequence[int]) -> None:
    """End jobs that were granted and cannot be read."""
    await tx.load_seqs(seqs)
    for seq in seqs:
        row = await tx.row_at(seq)
        if row is not None and row.state == Code.RUNNING:
            await give_up(tx, row)
    await tell(tx)
