"""The end of attempts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from treadle.backends.common.attempts import end_attempt, is_held, refusal
from treadle.backends.common.fates import fate_of
from treadle.backends.common.jobrow import Code, Flag, JobRow
from treadle.backends.sqlite.ends import finish, give_back, tell
from treadle.backends.sqlite.push import push
from treadle.backends.sqlite.tx import Surprise, Tx
from treadle.ports import Settlement
from treadle.queuenames import check_queue
from treadle.records import Settled
from treadle.verdicts import Again, Done, Released

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
    tx.ended += ids
    # Not a closure over the transaction, which would hold itself and all that was claimed in it.
    tx.then.append(partial(tx.grants.drop, ids))


def _settle_one(tx: Tx, end: Settlement) -> Settled:
    token = end.token
    row = tx.row(token.job_id)
    if row is None:
        gone = tx.one("gone", token.job_id, tx.now)
        known = gone is not None and (gone[3], gone[4]) == (token.fence, token.nonce)
        return Settled.ALREADY if known else Settled.UNKNOWN
    if not is_held(row, token):
        return refusal(row, token)
    _end(tx, row, end)
    tell(tx)
    if end.follow_ups and type(end.verdict) is Done:
        push(tx, end.follow_ups, follow_ups=True)
    return Settled.OK


def _end(tx: Tx, row: JobRow, end: Settlement) -> None:
    facts, attempt = tx.facts(row), row.attempt
    final = end_attempt(row, facts, end, tx.now)
    if final is None:
        give_back(tx, row, facts)
        return
    spec = tx.spec(row)
    finish(tx, row, spec, final.code, facts, result=final.result)
    if isinstance(end.verdict, Again | Released):  # it was to be cancelled
        tx.fates.append(fate_of(row, spec, facts, attempt=attempt))
