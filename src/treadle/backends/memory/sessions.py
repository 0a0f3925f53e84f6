"""The foremen that are present."""

from __future__ import annotations

import msgspec

from treadle.backends.common.sessions import closed, opened
from treadle.ports import Claimed
from treadle.records import Session, SessionInfo

__all__ = ["Presence", "Seat"]

_FORGET = 86400.0


class Seat:
    """One open session."""

    __slots__ = ("answer", "info", "nonce", "request", "until")

    def __init__(self, nonce: int, info: SessionInfo, until: float) -> None:
        self.nonce = nonce
        self.info = info
        self.until = until
        # The last claim and what it was answered.
        self.request = 0
        self.answer = Claimed()


class Presence:
    """All sessions that were opened and not closed."""

    def __init__(self) -> None:
        self._seats: dict[int, Seat] = {}

    def open(self, nonce: int, info: SessionInfo, now: float) -> Session:
        """Make a foreman present."""
        # A session that was never closed lost its foreman long ago.
        for seat in [seat for seat in self._seats.values() if seat.until < now - _FORGET]:
            del self._seats[seat.nonce]
        info = opened(info, now)
        self._seats[nonce] = Seat(nonce, info, info.until)
        return Session(nonce=nonce, info=info)

    def seat(self, session: Session) -> Seat:
        """The seat of a session.

        Raises:
            LeaseLost: it was closed, or is of another store.
        """
        seat = self._seats.get(session.nonce)
        if seat is None:
            raise closed(session)
        return seat

    def renew(self, session: Session, now: float, lease: float) -> None:
        """The session is alive."""
        seat = self._seats.get(session.nonce)
        if seat is not None:
            seat.until = max(seat.until, now + lease)

    def close(self, session: Session) -> None:
        """The session is over."""
        self._seats.pop(session.nonce, None)

    def present(self, now: float) -> dict[str, SessionInfo]:
        """Sessions by their nonce in hex."""
        return {
            f"{seat.nonce:x}": msgspec.structs.replace(seat.info, until=seat.until)
            for seat in self._seats.values()
            if seat.until > now
        }
