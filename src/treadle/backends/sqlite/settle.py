"""The end of attempts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from treadle.backends.common.lapses import COUNTED
from treadle.backends.common.names import check_queue
from treadle.backends.sqlite.ends import finish, forget_attempt, record_attempt, tell
from treadle.backends.sqlite.lines import free, wake_all
from treadle.backends.sqlite.push import push
from treadle.backends.sqlite.rows import Code, Flag, Row
from treadle.backends.sqlite.tx import Surprise, Tx
from treadle.ports import Settlement
from treadle.records import Attempt, Cause, NewJob, Settled, Token
from treadle.verdicts import Again, Cancelled, Done, Failed, Released

__all__ = ["settle"]


def settle(tx: Tx, ends: Sequence[Settlement]) -> list[Settled]:
    """End attempts; plain successes together, the others one by one."""
    plain: dict[int, Settlement] = {}
    for end in ends:
        for job in end.follow_ups:
            check_queue(job.queue)
        if not tx.careful:
            seq = _plain(tx, end)
            if seq is not None:
                plain.setdefault(seq, end)
    if plain:
        _succeed(tx, plain)
    together = {id(end) for end in plain.values()}
    return [Settled.OK if id(end) in together else _settle_one(tx, end) for end in ends]


def _plain(tx: Tx, end: Settlement) -> int | None:
    """The number of a job for which nothing is to be done but to write that it succeeded."""
    verdict, token = end.verdict, end.token
    grant = tx.grants.get(token.job_id)
    if grant is None or type(verdict) is not Done or verdict.skipped is not None:
        return None
    seq, fence, nonce, _, plain = grant
    if not plain or fence != token.fence or nonce != token.nonce:
        return None
    return None if end.follow_ups or end.note is not None else seq


def _succeed(tx: Tx, plain: dict[int, Settlement]) -> None:
    """Write many successes at once.

    Raises:
        Surprise: a job is no longer as it was granted.
    """
    sessions: dict[int, list[int]] = {}
    queues: dict[str, int] = {}
    results: list[Any] = []
    for seq, end in plain.items():
        _, _, nonce, queue, _ = tx.grants[end.token.job_id]
        sessions.setdefault(nonce, []).append(seq)
        queues[queue] = queues.get(queue, 0) + 1
        assert type(end.verdict) is Done
        if end.verdict.result is not None:
            results += (seq, end.verdict.result)
    for nonce, seqs in sessions.items():
        done = tx.run("succeed", tx.now, ~Flag.ATTEMPT, json.dumps(seqs), nonce, Flag.AT_END)
        if done.rowcount != len(seqs):
            raise Surprise
    if results:
        tx.run_rows("save_results", 2, results)
    for queue, n in queues.items():
        tx.count(Code.RUNNING, queue, -n)
        tx.count(Code.SUCCEEDED, queue, n)
    ids = [end.token.job_id for end in plain.values()]
    tx.changed += ids
    tx.then.append(lambda: tx.grants.drop(ids))


def _settle_one(tx: Tx, end: Settlement) -> Settled:
    token = end.token
    row = tx.row(token.job_id)
    if row is None:
        gone = tx.one("gone", token.job_id, tx.now)
        known = gone is not None and (gone[3], gone[4]) == (token.fence, token.nonce)
        return Settled.ALREADY if known else Settled.UNKNOWN
    if not _is_present(row, token):
        ended = (row.ended_fence, row.ended_nonce) == (token.fence, token.nonce)
        return Settled.ALREADY if ended else Settled.LOST
    row.ended_fence, row.ended_nonce = token.fence, token.nonce
    _End(tx, row, end).carry_out()
    tell(tx)
    if end.follow_ups and type(end.verdict) is Done:
        push(tx, end.follow_ups, follow_ups=True)
    return Settled.OK


def _is_present(row: Row, token: Token) -> bool:
    return row.state == Code.RUNNING and (row.fence, row.nonce) == (token.fence, token.nonce)


class _End:
    """The end of one attempt."""

    def __init__(self, tx: Tx, row: Row, end: Settlement) -> None:
        self.tx = tx
        self.row = row
        self.verdict = end.verdict
        self.spec: NewJob = tx.spec(row)
        self.facts = tx.facts(row)
        if end.note is not None:
            self.facts.note = end.note

    def carry_out(self) -> None:
        verdict = self.verdict
        match verdict:
            case Done():
                self._reset()
                self.facts.skipped = verdict.skipped
                self._finish(Code.SUCCEEDED, verdict.result)
            case Again():
                self._again(verdict)
            case Failed():
                self._fail(verdict)
            case Released():
                self._release(verdict)
            case Cancelled():
                self._reset()
                self.facts.fault = verdict.fault
                self._finish(Code.CANCELLED)

    def _fail(self, verdict: Failed) -> None:
        self._reset()
        self._remember(verdict.cause, verdict.fault)
        if verdict.cause in COUNTED:
            self.row.tries += 1
        self.facts.cause, self.facts.fault = verdict.cause, verdict.fault
        self._finish(Code.FAILED)

    def _reset(self) -> None:
        """Any verdict but a release ends a row of releases."""
        self.facts.releases = 0
        self.facts.aside_since = None
        self.facts.reason = ""
        self.row.expires = None

    def _remember(self, cause: Cause, fault: Any) -> None:
        row = self.row
        attempt = Attempt(
            number=row.attempt,
            cause=cause,
            started=row.started,
            ended=self.tx.now,
            holder=row.holder or "",
            fault=fault,
        )
        record_attempt(self.tx, row, self.facts, attempt)

    def _finish(self, state: int, result: bytes | None = None) -> None:
        finish(self.tx, self.row, self.spec, state, self.facts, result=result)

    def _again(self, verdict: Again) -> None:
        self._reset()
        self._remember(verdict.cause, verdict.fault)
        if verdict.counts:
            self.row.tries += 1
        if self.row.flags & Flag.CANCEL:
            self._finish(Code.CANCELLED)
        else:
            self._give_back(verdict.delay, suspect=False)

    def _release(self, verdict: Released) -> None:
        if verdict.reason:
            self.facts.reason = verdict.reason
            self.facts.releases += 1
            if self.facts.aside_since is None:
                self.facts.aside_since = self.tx.now
        if self.row.flags & Flag.CANCEL:
            self._finish(Code.CANCELLED)
            return
        self._give_back(verdict.delay, suspect=True)

    def _give_back(self, delay: float, *, suspect: bool) -> None:
        """Back to its old place, now or later; a suspect that was released stays one."""
        tx, row = self.tx, self.row
        lines = free(tx, row)
        forget_attempt(row, suspect=suspect)
        if delay > 0:
            row.state, row.due = Code.SCHEDULED, tx.now + delay
        else:
            if not suspect:
                row.due = tx.now
            tx.make_ready(row)
        tx.save_facts(row, self.facts)
        tx.save(row, Code.RUNNING)
        wake_all(tx, lines)
