"""Presence of foremen, and the renewal of what they hold."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from treadle.backends.common.jobrow import Code, Flag
from treadle.backends.common.sessions import opened
from treadle.backends.postgres.advance import lose, spare
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.tx import Tx
from treadle.ports import Held
from treadle.records import Renewal, Session, SessionInfo, Token

__all__ = ["Presence", "close_session", "extend", "open_session", "presence"]


class Presence(msgspec.Struct, frozen=True):
    """What the store knows of a session."""

    until: float
    # The last claim that was answered.
    request: int


async def open_session(tx: Tx, info: SessionInfo, nonce: int | None) -> Session:
    """Make a foreman present."""
    await spare(tx)
    info = opened(info, tx.now)
    nonce = tx.settings.new_nonce() if nonce is None else nonce
    await tx.run("open_session", nonce, msgspec.msgpack.encode(info), info.until)
    return Session(nonce=nonce, info=info)


async def close_session(tx: Tx, session: Session) -> None:
    """End presence and give back what is held."""
    await tx.run("close_session", session.nonce)
    seqs = [seq for (seq,) in await tx.look("running_of", session.nonce)]
    await tx.load_seqs(seqs)
    for seq in seqs:
        row = await tx.row_at(seq)
        if row is not None and row.state == Code.RUNNING and row.nonce == session.nonce:
            await lose(tx, row, closed=True)


async def presence(tx: Tx, session: Session) -> Presence | None:
    """The presence of a session; ``None`` when it was closed."""
    found = await tx.one("session", session.nonce)
    return None if found is None else Presence(*found)


async def extend(tx: Tx, session: Session, held: Sequence[Held], lease: float) -> list[Renewal]:
    """Renew leases, or with a lease of 0 give them up; presence too."""
    if lease > 0:
        await tx.run("renew_session", session.nonce, tx.now + lease)
    await tx.load(item.token.job_id for item in held)
    answers: list[Renewal] = []
    given_up: list[Row] = []
    for item in held:
        row = await tx.row(item.token.job_id)
        if row is None or not _holds(row, item.token):
            answers.append(Renewal.LOST)
            continue
        answers.append(Renewal.CANCEL if row.flags & Flag.CANCEL else Renewal.HELD)
        _renew(tx, row, item, lease)
        if lease <= 0:
            given_up.append(row)
    for row in given_up:
        if row.state == Code.RUNNING:
            await lose(tx, row)
    return answers


def _holds(row: Row, token: Token) -> bool:
    return row.state == Code.RUNNING and (row.fence, row.nonce) == (token.fence, token.nonce)


def _renew(tx: Tx, row: Row, item: Held, lease: float) -> None:
    if item.started and not row.flags & Flag.STARTED:
        row.flags |= Flag.STARTED
        row.expires = None
        tx.save(row, row.state)
    if item.note is not None:
        facts = tx.facts(row)
        facts.note = item.note
        tx.save_facts(row, facts)
        tx.save(row, row.state)
    if lease > 0:
        row.until = tx.now + lease
        tx.touch(row)
