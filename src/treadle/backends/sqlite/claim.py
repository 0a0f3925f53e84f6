"""Granting leases."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from treadle.backends.common.damage import agrees, facts_of, readable
from treadle.backends.common.jobrow import Code, Facts, Flag, JobRow
from treadle.backends.common.lines import hold_back
from treadle.backends.common.sessions import closed
from treadle.backends.common.turns import take_turns
from treadle.backends.sqlite import lines
from treadle.backends.sqlite.advance import advance, outpace
from treadle.backends.sqlite.ends import give_up, tell
from treadle.backends.sqlite.members import occupied
from treadle.backends.sqlite.sessions import presence, renew
from treadle.backends.sqlite.tx import Tx
from treadle.ports import PARK_MAX, Claim, Claimed
from treadle.queuenames import Matcher
from treadle.records import Lease, NewJob, Token

__all__ = ["Answers", "claim"]

_FIRST = (-1000, 0)
_RARE = Flag.ONCE | Flag.FACTS

Answers = dict[int, tuple[int, Claimed]]
"""The last answer by session, with its request number: what a repeat is told.

It is not stored: a session lives in one process, and when that dies nobody can repeat its claim.
"""


def claim(tx: Tx, ask: Claim, answers: Answers) -> Claimed:
    """Lease up to ``ask.limit`` jobs."""
    until = presence(tx, ask.session)
    if until is None:
        raise closed(ask.session)
    known = answers.get(ask.session.nonce)
    if known is not None and ask.request <= known[0]:
        return known[1]
    ahead = advance(tx)
    step = _Claim(tx, ask)
    leases = step.carry_out()
    outpace(tx, ahead, len(leases))
    claimed = Claimed(
        leases=tuple(leases),
        more=step.more or ahead.behind(tx.now),
        suspects_wait=step.suspects_wait,
        next_due=ahead.next_due(tx.now, step.next_at),
    )
    if until < tx.now + ask.lease / 2:
        renew(tx, ask.session, until, tx.now + ask.lease)
    tx.then.append(lambda: answers.__setitem__(ask.session.nonce, (ask.request, claimed)))
    return claimed


# ------------------------------------------------------------- one claim


class _Claim:
    """One claim: jobs are chosen queue by queue and granted together at the end."""

    def __init__(self, tx: Tx, ask: Claim) -> None:
        self.tx = tx
        self.ask = ask
        self.matcher = Matcher(ask.queues, ask.exclude)
        self.leases: list[Lease] = []
        self.seqs: list[int] = []
        self.rules = tx.rules
        self.cursors: dict[tuple[int, str], tuple[int, int]] = {}
        self.parked = 0
        self.left = 0
        self.more = False
        # When something that this claim did comes due.
        self.next_at: float | None = None
        self.suspects_wait = False

    def carry_out(self) -> list[Lease]:
        tx, ask = self.tx, self.ask
        tx.flush()
        suspects = self._suspects()
        alone = ask.holding == 0 and ask.limit > 0 and self._grant_suspect(suspects)
        if not alone:
            self._serve_named()
            for index, name in enumerate(ask.queues):
                if len(self.leases) < ask.limit and self.parked < PARK_MAX:
                    self._serve(index, name)
        # Looked at again: their queue may have become full.
        self.suspects_wait = bool(suspects) and not alone and bool(self._suspects())
        if self.seqs:
            self._grant()
        if self.leases:
            tx.grants.tidy()
        self.more = self.parked >= PARK_MAX or (
            len(self.leases) >= ask.limit and self._anything_left()
        )
        return self.leases

    def _allows(self, index: int) -> Callable[[str], bool]:
        """Whether a queue is served under the name at that index, now."""

        def allowed(queue: str) -> bool:
            return self.matcher.place(queue) == index and self.rules.room(queue) != 0

        return allowed

    def _serve(self, index: int, name: str) -> None:
        """Let the queues that a name covers take turns."""
        tx = self.tx
        last = self._last(name)
        members = occupied(tx, name, Code.QUEUED, self._allows(index), last)
        if not members:
            return
        self.left += sum(members.values())
        places = self.ask.limit - len(self.leases)
        served = take_turns(
            sorted(members), last, places, lambda queue, n: self._take(queue, Code.QUEUED, n)
        )
        if served is not None and served != last:
            tx.run("save_turn", name, served)
            tx.memo.turns[name] = served

    def _serve_named(self) -> None:
        """Grant the jobs that are to come before all others."""
        if not self.ask.first:
            return
        found = self.tx.run("named", json.dumps(list(dict.fromkeys(self.ask.first)))).fetchall()
        for queue, *values in found:
            if len(self.leases) >= self.ask.limit or self.parked >= PARK_MAX:
                break
            if self.matcher.place(queue) is not None and self.rules.room(queue) != 0:
                taken = self._choose([values], queue, Code.QUEUED)
                self.tx.count(Code.QUEUED, queue, -taken)
                self.tx.count(Code.RUNNING, queue, taken)
        # The queues are read from their beginning, and have these no more.
        self.cursors.clear()
        if self.seqs:
            self._grant()
            self.seqs = []
        self.tx.flush()
        self.left = len(self.leases)

    def _last(self, name: str) -> str | None:
        """The member that was served last under a name."""
        turns = self.tx.memo.turns
        if name not in turns:
            found = self.tx.one("turn", name)
            turns[name] = None if found is None else found[0]
        return turns[name]

    def _anything_left(self) -> bool:
        self.tx.flush()
        if self.left > len(self.leases):
            return True
        return any(
            occupied(self.tx, name, Code.QUEUED, self._allows(index))
            for index, name in enumerate(self.ask.queues)
        )

    # -- suspects

    def _suspects(self) -> list[tuple[int, int, int, str]]:
        """The first suspect of each queue, with its place, in the order of the claim."""
        tx = self.tx
        if not tx.memo.no_suspects:
            tx.memo.no_suspects = tx.one("occupied", Code.SUSPECT, "", 1) is None
        if tx.memo.no_suspects:
            return []
        tx.flush()
        found: list[tuple[int, int, int, str]] = []
        for index, name in enumerate(self.ask.queues):
            for queue in occupied(tx, name, Code.SUSPECT, self._allows(index)):
                place = tx.one("first_place", Code.SUSPECT, queue)
                if place is None:
                    self._correct(Code.SUSPECT, queue)
                else:
                    found.append((index, *place, queue))
        return sorted(found)

    def _grant_suspect(self, suspects: list[tuple[int, int, int, str]]) -> bool:
        while suspects and self.parked < PARK_MAX:
            queue = suspects[0][3]
            page = self.tx.run("candidates", Code.SUSPECT, queue, *_FIRST, 1).fetchall()
            if self._choose(page, queue, Code.SUSPECT):
                self.tx.count(Code.SUSPECT, queue, -1)
                self.tx.count(Code.RUNNING, queue, 1)
                return True
            # A key or limit keeps it back, and it is parked: now another is the first.
            suspects = self._suspects()
        return False

    # -- jobs

    def _take(self, queue: str, code: int, wanted: int) -> int:
        """Choose up to so many jobs of one queue."""
        room = self.rules.room(queue)
        if room is not None:
            wanted = min(wanted, room)
        taken = 0
        while taken < wanted and self.parked < PARK_MAX:
            rank, seq = self.cursors.get((code, queue), _FIRST)
            asked = wanted - taken
            page = self.tx.run("candidates", code, queue, rank, seq, asked).fetchall()
            if not page:
                if (code, queue) not in self.cursors:
                    self._correct(code, queue)
                break
            taken += self._choose(page, queue, code)
            if len(page) < asked:
                break
        if taken:
            self.tx.count(code, queue, -taken)
            self.tx.count(Code.RUNNING, queue, taken)
        return taken

    def _correct(self, code: int, queue: str) -> None:
        """Forget jobs that are counted and not there; foremen would be called to them for ever."""
        self.tx.flush()
        self.tx.run("forget_count", code, queue)

    def _choose(self, page: list[Any], queue: str, code: int) -> int:
        """Take those candidates that nothing is in the way of; how many."""
        tx, nonce, now = self.tx, self.ask.session.nonce, self.tx.now
        before = len(self.leases)
        values: Any = None
        for values in page:
            seq, job_id, _, flags, fence, _, _, created, body = values
            spec = readable(body, job_id, queue)
            if spec is None or flags & Flag.AT_CLAIM:
                spec = self._cleared(seq, spec)
            if spec is None:
                if self.parked >= PARK_MAX:
                    break
                continue
            token = Token(job_id, fence + 1, nonce)
            if flags & _RARE or fence or code != Code.QUEUED:
                lease = self._rare(values, spec, token, code)
            else:
                lease = Lease(token=token, spec=spec, created=created, started=now)
            kept = spec.keep.succeeded is None or spec.keep.succeeded > 0
            tx.grants[job_id] = (seq, fence + 1, nonce, queue, kept and not flags & Flag.AT_END)
            self.seqs.append(seq)
            tx.changed.append(job_id)
            self.leases.append(lease)
        self.cursors[code, queue] = values[2], values[0]
        return len(self.leases) - before

    def _rare(self, values: Any, spec: NewJob, token: Token, code: int) -> Lease:
        """The lease of a job that was leased before, or of which more is known."""
        seq, _, _, flags, _, tries, crashes, created, _ = values
        if flags & Flag.ONCE:
            self.tx.must_sync = True
        if code == Code.SUSPECT:
            # A suspect counts as started from the grant.
            self.tx.run("start", json.dumps([seq]))
        facts = _NO_FACTS
        if flags & Flag.FACTS:
            found = self.tx.one("facts", seq)
            facts = facts_of(code, None if found is None else found[0])
        return Lease(
            token=token,
            spec=spec,
            tries=tries,
            crashes=crashes,
            releases=facts.releases,
            aside_since=facts.aside_since,
            suspect=code == Code.SUSPECT,
            created=created,
            started=self.tx.now,
            note=facts.note,
        )

    def _cleared(self, seq: int, spec: NewJob | None) -> NewJob | None:
        """The job when it may run; what cannot be read is set aside, what must wait is parked."""
        tx = self.tx
        row = tx.row_at(seq)
        assert row is not None
        if row.state not in (Code.QUEUED, Code.SUSPECT):
            return None
        if spec is None or not agrees(row, spec):
            give_up(tx, row)
            tell(tx)
            # Costs as much as to park it.
            self.parked += 1
            return None
        return spec if self._clear(row, spec) else None

    def _clear(self, row: JobRow, spec: NewJob) -> bool:
        """Ask key, slots and rates; what must wait is parked or scheduled."""
        tx = self.tx
        was = row.state
        full = lines.grant(tx, row, spec)
        if full is None:
            if row.flags & Flag.UNIQUE_START and spec.unique is not None:
                tx.run("free_unique", spec.unique.key, row.id)
                row.flags &= ~Flag.UNIQUE_START
            tx.run("mark", row.flags, row.seq)
            return True
        hold_back(row, full)
        if full.line is not None:
            self.parked += 1
        else:
            self.next_at = full.at if self.next_at is None else min(self.next_at, full.at)
        tx.save(row, was)
        lines.leave(tx, row, spec, except_line=full.line)
        return False

    def _grant(self) -> None:
        tx, ask = self.tx, self.ask
        until = tx.now + ask.lease
        tx.awaits(until)
        self.next_at = until if self.next_at is None else min(self.next_at, until)
        holder = ask.session.info.name
        tx.run("grant", ask.session.nonce, tx.now, until, holder, json.dumps(self.seqs))


_NO_FACTS = Facts()
