"""Presence of foremen, and the renewal of what they hold."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from treadle.backends.common.jobrow import Code, Flag
from treadle.backends.common.sessions import opened
from treadle.backends.sqlite.advance import lose
from treadle.backends.sqlite.tx import Tx
from treadle.ports import Held
from treadle.records import Renewal, Session, SessionInfo, Token

__all__ = [
    "close_session",
    "extend",
    "open_session",
    "presence",
    "renew",
]


def open_session(tx: Tx, info: SessionInfo, nonce: int | None) -> Session:
    """Make a foreman present."""
    info = opened(info, tx.now)
    nonce = tx.settings.new_nonce() if nonce is None else nonce
    tx.run("open_session", nonce, msgspec.msgpack.encode(info), info.until)
    tx.memo.sessions[nonce] = info.until
    return Session(nonce=nonce, info=info)


def close_session(tx: Tx, session: Session) -> None:
    """End presence and give back what is held."""
    tx.run("close_session", session.nonce)
    tx.memo.sessions.pop(session.nonce, None)
    tx.grants.forget(session.nonce)
    for (seq,) in tx.run("running_of", session.nonce).fetchall():
        row = tx.row_at(seq)
        if row is not None and row.state == Code.RUNNING:
            lose(tx, row, closed=True)


def presence(tx: Tx, session: Session) -> float | None:
    """When the presence of a session ends; ``None`` when it was closed."""
    until = tx.memo.sessions.get(session.nonce)
    if until is None:
        found = tx.one("session", session.nonce)
        if found is None:
            return None
        until = tx.memo.sessions[session.nonce] = found[0]
    return until


def renew(tx: Tx, session: Session, was: float, until: float) -> None:
    """Let a session be present for longer."""
    if until > was:
        tx.run("renew_session", until, session.nonce)
        tx.memo.sessions[session.nonce] = until


def extend(tx: Tx, session: Session, held: Sequence[Held], lease: float) -> list[Renewal]:
    """Renew leases, or with a lease of 0 give them up; presence too."""
    until = presence(tx, session)
    if lease > 0 and until is not None:
        renew(tx, session, until, tx.now + lease)
    if not held:
        return []
    ids = json.dumps([item.token.job_id for item in held])
    found = {values[0]: values[1:] for values in tx.run("extending", ids).fetchall()}
    answers: list[Renewal] = []
    renewed: list[int] = []
    started: list[int] = []
    given_up: list[int] = []
    for item in held:
        row = found.get(item.token.job_id)
        if row is None or not _holds(row, item.token):
            answers.append(Renewal.LOST)
            continue
        seq, _, flags, _, _ = row
        answers.append(Renewal.CANCEL if flags & Flag.CANCEL else Renewal.HELD)
        renewed.append(seq)
        if item.started and not flags & Flag.STARTED:
            started.append(seq)
            tx.changed.append(item.token.job_id)
        if item.note is not None:
            note(tx, seq, item)
        if lease <= 0:
            given_up.append(seq)
    if started:
        tx.run("start", json.dumps(started))
    if lease > 0 and renewed:
        tx.run("extend", tx.now + lease, json.dumps(renewed))
    for seq in dict.fromkeys(given_up):
        _give_up(tx, seq)
    return answers


def _holds(row: tuple[int, int, int, int, int], token: Token) -> bool:
    return row[1] == Code.RUNNING and row[3] == token.fence and row[4] == token.nonce


def note(tx: Tx, seq: int, item: Held) -> None:
    """Keep what a running attempt says of itself."""
    row = tx.row_at(seq)
    assert row is not None
    facts = tx.facts(row)
    facts.note = item.note
    tx.save_facts(row, facts)
    tx.save(row, row.state)


def _give_up(tx: Tx, seq: int) -> None:
    row = tx.row_at(seq)
    if row is not None and row.state == Code.RUNNING:
        lose(tx, row)
