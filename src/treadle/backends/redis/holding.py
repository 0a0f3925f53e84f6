"""Sessions, and keeping what they have."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.sessions import PRESENCE, opened
from treadle.backends.redis.encode import Arg, nonce, packed, token
from treadle.backends.redis.names import short
from treadle.backends.redis.store import Store
from treadle.ports import Held
from treadle.records import Renewal, Session, SessionInfo

__all__ = ["close_session", "extend", "open_session"]

_TOGETHER = 500
"""Leases that are renewed in one script."""
_NAME_MAX = 255

_RENEWALS = {"h": Renewal.HELD, "l": Renewal.LOST, "c": Renewal.CANCEL}


async def open_session(store: Store, number: int, info: SessionInfo) -> Session:
    """Make a foreman present by this nonce."""
    name = info.name.encode()[:_NAME_MAX].decode(errors="ignore")
    at = float(await store.run("open_session", f"{number:x}", name, packed(info), repr(PRESENCE)))
    return Session(nonce=number, info=opened(info, at))


async def close_session(store: Store, session: Session) -> None:
    """End presence and give back every lease, page by page of all that there are."""
    place: Sequence[bytes | str] = ("-inf", "0")
    while place:
        place = await store.run("close_session", nonce(session.nonce), f"{session.nonce:x}", *place)


async def extend(
    store: Store, session: Session, held: Sequence[Held], lease: float
) -> list[Renewal]:
    """Renew leases, or give them up with a lease of 0; answers in order."""
    answers: list[Renewal] = []
    for at in range(0, len(held) or 1, _TOGETHER):
        some = held[at : at + _TOGETHER]
        args: list[Arg] = [f"{session.nonce:x}", repr(lease), len(some)]
        for one in some:
            note = b"" if one.note is None else packed(one.note)
            args += (short(one.token.job_id), token(one.token), "1" if one.started else "", note)
        said = await store.run("extend", *args)
        answers += [_RENEWALS[letter] for letter in said.decode()]
    return answers
