"""Sessions of foremen that begin, and those that are not there."""

from __future__ import annotations

import msgspec

from treadle.errors import LeaseLost
from treadle.records import Session, SessionInfo

__all__ = ["PRESENCE", "closed", "opened"]

PRESENCE = 30.0
"""Seconds for which a session is present before its first claim or extend says how long."""


def opened(info: SessionInfo, now: float) -> SessionInfo:
    """What a foreman says of itself, with the time of its session."""
    return msgspec.structs.replace(info, opened=now, until=now + PRESENCE)


def closed(session: Session) -> LeaseLost:
    """What is raised for a claim of a session that is not there."""
    return LeaseLost(f"the session {session.info.name!r} is closed or unknown; open another one")
