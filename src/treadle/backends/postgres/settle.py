"""The end of attempts."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.attempts import end_attempt, is_held, refusal
from treadle.backends.common.fates import fate_of
from treadle.backends.common.jobrow import Flag
from treadle.backends.postgres.ends import finish, give_back, tell
from treadle.backends.postgres.lines import wake_all
from treadle.backends.postgres.push import push
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.tx import Tx
from treadle.ports import Settlement
from treadle.records import Settled
from treadle.verdicts import Again, Done, Released

__all__ = ["settle"]


async def settle(tx: Tx, ends: Sequence[Settlement]) -> list[Settled]:
    """End attempts, one by one; what they change is read and written together."""
    await tx.load(end.token.job_id for end in ends)
    await tx.limits.load_holds(end.token.job_id for end in ends)
    tx.to_wake = {}
    answers = [await _settle_one(tx, end) for end in ends]
    await wake_all(tx, tx.put_off())
    await tell(tx)
    return answers


async def _settle_one(tx: Tx, end: Settlement) -> Settled:
    token = end.token
    row = await tx.row(token.job_id)
    if row is None:
        gone = await tx.grave(token.job_id)
        known = gone is not None and (gone[3], gone[4]) == (token.fence, token.nonce)
        return Settled.ALREADY if known else Settled.UNKNOWN
    if not is_held(row, token):
        return refusal(row, token)
    awaited = row.flags & Flag.AWAITED
    await _end(tx, row, end)
    if awaited:
        await tell(tx)
    if end.follow_ups and type(end.verdict) is Done:
        await push(tx, end.follow_ups, follow_ups=True)
    return Settled.OK


async def _end(tx: Tx, row: Row, end: Settlement) -> None:
    facts, attempt = tx.facts(row), row.attempt
    final = end_attempt(row, facts, end, tx.now)
    if final is None:
        await give_back(tx, row, facts)
        return
    spec = tx.spec(row)
    await finish(tx, row, spec, final.code, facts, result=final.result)
    if isinstance(end.verdict, Again | Released):  # it was to be cancelled
        tx.fates.append(fate_of(row, spec, facts, attempt=attempt))
