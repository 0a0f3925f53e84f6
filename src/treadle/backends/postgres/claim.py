"""Granting leases, whatever the jobs ask for."""

from __future__ import annotations

from collections.abc import Callable

from treadle.backends.common.damage import agrees, readable
from treadle.backends.common.jobrow import Code, Facts, Flag
from treadle.backends.common.lines import hold_back, lines_of
from treadle.backends.common.sessions import closed
from treadle.backends.common.turns import Turns
from treadle.backends.postgres import lines
from treadle.backends.postgres.advance import advance, outpace
from treadle.backends.postgres.ends import give_up, tell
from treadle.backends.postgres.members import any_occupied, occupied
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.sessions import presence
from treadle.backends.postgres.tx import Tx
from treadle.ports import PARK_MAX, Claim, Claimed
from treadle.queuenames import Matcher
from treadle.records import Lease, NewJob, Token

__all__ = ["claim", "lease_of"]

_FIRST = (-1000, 0)
_NO_FACTS = Facts()


async def claim(tx: Tx, ask: Claim) -> Claimed:
    """Lease up to ``ask.limit`` jobs."""
    present = await presence(tx, ask.session)
    if present is None:
        raise closed(ask.session)
    if ask.request <= present.request:
        # Its answer got lost: the jobs that it granted and that are still held.
        rows = tx.keep(await tx.look("granted", ask.session.nonce, ask.request))
        leases = tuple(lease_of(tx, row, tx.spec(row)) for row in rows)
        return Claimed(leases=leases, more=True)
    ahead = await advance(tx)
    step = _Claim(tx, ask)
    leases = tuple(await step.carry_out())
    await outpace(tx, ahead, len(leases))
    await tx.run("claimed_session", ask.session.nonce, tx.now + ask.lease, ask.request)
    return Claimed(
        leases=leases,
        more=step.more or ahead.behind(tx.now),
        suspects_wait=step.suspects_wait,
        next_due=ahead.next_due(tx.now, step.next_at),
    )


def lease_of(tx: Tx, row: Row, spec: NewJob) -> Lease:
    """The lease of a job that was granted."""
    facts = _NO_FACTS if row.facts is None else tx.facts(row)
    return Lease(
        token=Token(row.id, row.fence, row.nonce or 0),
        spec=spec,
        tries=row.tries,
        crashes=row.crashes,
        releases=facts.releases,
        aside_since=facts.aside_since,
        suspect=bool(row.flags & Flag.SUSPECT),
        created=row.created,
        started=row.started or 0.0,
        note=facts.note,
    )


# ------------------------------------------------------------- one claim


class _Claim:
    """One claim: jobs are chosen queue by queue."""

    def __init__(self, tx: Tx, ask: Claim) -> None:
        self.tx = tx
        self.ask = ask
        self.matcher = Matcher(ask.queues, ask.exclude)
        self.leases: list[Lease] = []
        self.cursors: dict[tuple[int, str], tuple[int, int]] = {}
        self.parked = 0
        self.more = False
        # When something that this claim did comes due.
        self.next_at: float | None = None
        self.suspects_wait = False

    async def carry_out(self) -> list[Lease]:
        ask = self.ask
        self.rules = await self.tx.rules()
        suspects = await self._suspects()
        alone = ask.holding == 0 and ask.limit > 0 and await self._grant_suspect(suspects)
        if not alone:
            await self._serve_named()
            for index, name in enumerate(ask.queues):
                if len(self.leases) < ask.limit and self.parked < PARK_MAX:
                    await self._serve(index, name)
        # Looked at again: their queue may have become full.
        self.suspects_wait = bool(suspects) and not alone and bool(await self._suspects())
        self.more = self.parked >= PARK_MAX or (
            len(self.leases) >= ask.limit and await self._anything_left()
        )
        return self.leases

    def _allows(self, index: int) -> Callable[[str], bool]:
        """Whether a queue is served under the name at that index, now."""

        def allowed(queue: str) -> bool:
            return self.matcher.place(queue) == index and self.rules.room(queue) != 0

        return allowed

    async def _serve(self, index: int, name: str) -> None:
        """Let the queues that a name covers take turns."""
        tx = self.tx
        found = await tx.one("turn", name)
        last = None if found is None else found[0]
        members = await occupied(tx, name, Code.QUEUED, self._allows(index), last)
        if not members:
            return
        places = self.ask.limit - len(self.leases)
        turns = Turns(sorted(members), last, places)
        while (turn := turns.next()) is not None:
            turns.took(await self._take(*turn))
        if turns.last is not None and turns.last != last:
            await tx.run("save_turn", name, turns.last)

    async def _serve_named(self) -> None:
        """Grant the jobs that are to come before all others."""
        ask = self.ask
        if not ask.first:
            return
        for row in self.tx.keep(await self.tx.look("named", ask.first)):
            if len(self.leases) >= ask.limit or self.parked >= PARK_MAX:
                break
            if self.matcher.place(row.queue) is not None and self.rules.room(row.queue) != 0:
                await self._choose([row], row.queue, Code.QUEUED)
        # The queues are read from their beginning.
        self.cursors.clear()

    async def _anything_left(self) -> bool:
        for index, name in enumerate(self.ask.queues):
            if (await any_occupied(self.tx, name, Code.QUEUED, self._allows(index)))[0]:
                return True
        return False

    # -- suspects

    async def _suspects(self) -> list[tuple[int, int, int, str]]:
        """The first suspect of each queue, with its place, in the order of the claim."""
        tx = self.tx
        if await tx.look_one("any_suspect") is None:
            return []
        found: list[tuple[int, int, int, str]] = []
        for index, name in enumerate(self.ask.queues):
            for queue in await occupied(tx, name, Code.SUSPECT, self._allows(index)):
                place = await tx.look_one("first_place", Code.SUSPECT, queue)
                if place is not None:
                    found.append((index, *place, queue))
        return sorted(found)

    async def _grant_suspect(self, suspects: list[tuple[int, int, int, str]]) -> bool:
        tx = self.tx
        while suspects and self.parked < PARK_MAX:
            queue = suspects[0][3]
            page = await tx.look("candidates", Code.SUSPECT, queue, *_FIRST, 1)
            if not page or await self._choose(tx.keep(page), queue, Code.SUSPECT):
                return bool(page)
            # A key or limit keeps it back, and it is parked: now another is the first.
            suspects = await self._suspects()
        return False

    # -- jobs

    async def _take(self, queue: str, wanted: int) -> int:
        """Choose up to so many jobs of one queue."""
        room = self.rules.room(queue)
        if room is not None:
            wanted = min(wanted, room)
        taken = 0
        code = Code.QUEUED
        while taken < wanted and self.parked < PARK_MAX:
            rank, seq = self.cursors.get((code, queue), _FIRST)
            asked = wanted - taken
            page = await self.tx.look("candidates", code, queue, rank, seq, asked)
            if not page:
                break
            taken += await self._choose(self.tx.keep(page), queue, code)
            if len(page) < asked:
                break
        return taken

    async def _choose(self, page: list[Row], queue: str, code: int) -> int:
        """Take those candidates that nothing is in the way of; how many."""
        tx = self.tx
        before = len(self.leases)
        specs = [readable(tx.body(row), row.id, queue) for row in page]
        await tx.limits.load(line for spec in specs if spec is not None for line in lines_of(spec))
        for row, spec in zip(page, specs, strict=True):
            if row.state != code:  # what was done to one before it has changed it
                continue
            # Before it may be parked, which changes its state and not its place.
            self.cursors[code, queue] = row.rank, row.seq
            if spec is None or not agrees(row, spec):
                await give_up(tx, row)
                await tell(tx)
                # Costs as much as to park it.
                self.parked += 1
            elif not row.flags & Flag.AT_CLAIM or await self._clear(row, spec):
                self._grant(row, spec)
            if self.parked >= PARK_MAX:
                break
        return len(self.leases) - before

    async def _clear(self, row: Row, spec: NewJob) -> bool:
        """Ask key, slots and rates; what must wait is parked or scheduled."""
        tx = self.tx
        was = row.state
        full = await lines.grant(tx, row, spec)
        if full is None:
            if row.flags & Flag.UNIQUE_START and spec.unique is not None:
                tx.uniques.free(spec.unique.key, row.id)
                row.flags &= ~Flag.UNIQUE_START
            return True
        hold_back(row, full)
        if full.line is not None:
            self.parked += 1
        else:
            self._comes(full.at)
        tx.save(row, was)
        await lines.leave(tx, row, spec, except_line=full.line)
        return False

    def _grant(self, row: Row, spec: NewJob) -> None:
        tx, ask = self.tx, self.ask
        was = row.state
        if was == Code.SUSPECT:
            # A suspect counts as started from the grant.
            row.flags |= Flag.STARTED
            row.expires = None
            row.version += 1
        row.state = Code.RUNNING
        row.fence += 1
        row.nonce, row.request = ask.session.nonce, ask.request
        row.started, row.until = tx.now, tx.now + ask.lease
        row.holder = ask.session.info.name
        if row.flags & Flag.ONCE:
            tx.must_sync = True
        tx.save(row, was)
        tx.awaits(row.until)
        self._comes(row.until)
        self.leases.append(lease_of(tx, row, spec))

    def _comes(self, at: float) -> None:
        self.next_at = at if self.next_at is None else min(self.next_at, at)
