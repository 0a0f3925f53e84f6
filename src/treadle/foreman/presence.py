"""The session of a foreman, and the next one, should the store forget it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from treadle.clock import Clock
from treadle.errors import BackendError
from treadle.foreman.page import Page
from treadle.foreman.waits import within
from treadle.logs import get_logger
from treadle.ports import Jobs
from treadle.records import Session, SessionInfo

__all__ = ["Presence"]

_log = get_logger("treadle.foreman")


class Presence:
    """Keeps a foreman present in a store. All parts of the foreman read its session here.

    Args:
        jobs: the store.
        info: what the foreman says of itself, asked for each session.
        page: shared with a supervisor.
        forgotten: told when the store has forgotten a session, and every lease with it.
    """

    def __init__(
        self,
        jobs: Jobs,
        info: Callable[[], SessionInfo],
        page: Page | None,
        forgotten: Callable[[], object],
        *,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._info = info
        self._page = page
        self._forgotten = forgotten
        self._clock = clock
        self._answered = False
        self._opening: asyncio.Future[Session] | None = None
        self.session: Session

    async def open(self) -> None:
        """Become present."""
        # Who is cancelled meanwhile may be present already, and takes leave of what was opened.
        self._opening = asyncio.ensure_future(self._jobs.open_session(self._info()))
        self.session = await asyncio.shield(self._opening)
        if self._page is not None:
            self._page.open(self.session.nonce)

    async def reopen(self) -> None:
        """Become present again, with nothing held.

        A store forgets a session that was silent for a day; and one that was restored from a
        backup may never have known it.
        """
        await self.open()
        _log.warning("session.reopened", name=self.session.info.name)
        self._forgotten()

    async def close(self, patience: float) -> None:
        """Give back every lease and be gone. A store that is silent so long is not waited for.

        Nothing is said of a session that could not be opened.
        """
        await within(self._clock, patience, self._close())
        if not self._answered:
            waited = round(patience, 3)
            _log.warning("session.not_closed", waited=waited, hint="its leases will lapse")

    async def _close(self) -> None:
        session = await self._opened()
        if session is None:
            self._answered = True
            return
        try:
            await self._jobs.close_session(session)
        except (BackendError, OSError) as error:
            _log.warning("session.not_closed", error=repr(error), hint="its leases will lapse")
        self._answered = True

    async def _opened(self) -> Session | None:
        """The session that was asked for last, once the store has said whether it is there."""
        if self._opening is None:
            return None
        try:
            return await self._opening
        # Who asked for it was told, or does not want it any more.
        except Exception:  # noqa: BLE001
            return None
