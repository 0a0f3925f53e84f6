"""The spool of an app for one store: who joins the line, and what is known of those in it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from treadle.backends.sqlite.disk import file_system
from treadle.bus import Bus
from treadle.clock import Clock
from treadle.errors import BackendError, BackendUnavailable, OutcomeUnknown
from treadle.events import Event
from treadle.failpoints import failpoint
from treadle.ids import Chance
from treadle.logs import get_logger
from treadle.ports import Backend
from treadle.records import NewJob, Pushed, PushStatus
from treadle.spool.entry import Entry, Place, known_for
from treadle.spool.file import SpoolFile
from treadle.spool.forwarding import Forwarder

__all__ = ["Spool", "passing"]

_log = get_logger("treadle.spool")
_PASSING = frozenset({"tmpfs", "ramfs", "overlay"})
_GRACE, _PATIENCE = 2.0, 5.0
Start = Callable[[Coroutine[Any, Any, None]], Future[None]]


class Spool:
    """Keeps the jobs of an app while their store is away, and forwards them in order.

    Args:
        file: which processes of this machine may share.
        place: where the jobs of this app go.
        most: jobs that the file may hold.
        request_ttl: seconds for which a store knows a job again that it no longer keeps.
        clock, chance: of the app.
        bus: tells the observers of the app.
        start: runs a coroutine on the background loop of the app.
    """

    def __init__(
        self,
        file: SpoolFile,
        place: Place,
        *,
        most: int,
        request_ttl: float,
        clock: Clock,
        chance: Chance,
        bus: Bus,
        start: Start,
    ) -> None:
        self.file = file
        self.place = place
        self._most = most
        self._request_ttl = request_ttl
        self._clock = clock
        self._bus = bus
        self._start = start
        self._lock = threading.Lock()
        self._forwarding = False
        self._task: asyncio.Task[None] | None = None
        self._warned = False
        self.forwarder = Forwarder(
            file, place, request_ttl=request_ttl, clock=clock, chance=chance, tell=self._tell
        )
        self.parts = (self,)
        self.named = {"": self}
        # Gives the store, connected for the running loop; set by who has it.
        self.ready: Callable[[], Awaitable[Backend]] | None = None
        # Of the store, as far as it is known.
        self.backend: Callable[[], Backend] | None = None

    def open(self) -> None:
        """Make sure that the file can be used, and forward what an earlier process has left.

        Raises:
            BackendError: it cannot be used; says why.
        """
        try:
            self.file.open()
        except BackendError as error:
            raise type(error)(f"spool: {error}", backend=self.file.path) from error
        if not self._warned:
            self._warned = True
            reason = passing(self.file.path)
            if reason:
                _log.warning("spool.ephemeral", path=self.file.path, reason=reason)
        if self.waits():
            self.forward()

    def close(self) -> None:
        """Give up the file; what waits in it stays there."""
        if self._forwarding:
            self._start(self.halt()).result(_PATIENCE)
        self._forwarding, self._task = False, None
        self.forwarder.close()
        self.file.close()

    def forget(self) -> None:
        """In a forked child: what is open is the parent's."""
        self._lock = threading.Lock()
        self._forwarding, self._task = False, None
        self.forwarder.forget()
        self.file.forget()

    # ------------------------------------------------------------ the line

    def waits(self) -> bool:
        """Whether there is a line, which all that come have to join."""
        return self.file.waits(self.place)

    async def join(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Put jobs behind those that wait.

        Raises:
            BackendUnavailable: the spool does not take them.
        """
        return await self._put(jobs, None, None)

    async def keep(
        self, jobs: Sequence[NewJob], sent: float | None, error: Exception
    ) -> Sequence[Pushed]:
        """Put jobs into the spool because the store did not answer.

        Args:
            jobs: those of one push.
            sent: since when the store may have them; ``None`` when they were not sent.
            error: what it was; raised when the spool does not take them.
        """
        if sent is not None:
            assert self.backend is not None, "they were sent somewhere"
            features = self.backend().features
            if any(not known_for(job, features, self._request_ttl) for job in jobs):
                raise error  # nobody could say later whether they are there
        return await self._put(jobs, sent, error)

    async def _put(
        self, jobs: Sequence[NewJob], sent: float | None, error: Exception | None
    ) -> Sequence[Pushed]:
        now = self._clock.now()
        failpoint("spool.before_write")
        try:
            new, first = await asyncio.to_thread(
                self.file.add, self.place, jobs, at=now if sent is None else sent, sent=sent,
                most=self._most,
            )  # fmt: skip
        except BackendError as refusal:
            raise _neither(refusal, error, jobs, self.place.url) from (error or refusal)
        failpoint("spool.after_write")
        if first:
            # Without an error the last of the line was forwarded since the look at it.
            cause = error.__cause__ if isinstance(error, OutcomeUnknown) else error
            reason = "jobs waited" if error is None else str(cause or error)
            _log.warning("spool.began", path=self.file.path, jobs=len(jobs), reason=reason)
            self._tell(_event("spool.began", now, reason=reason, path=self.file.path))
        self.forward()
        created, exists = Pushed(PushStatus.CREATED), Pushed(PushStatus.EXISTS)
        return [created if one else exists for one in new]

    def find(self, job_id: str) -> Entry | None:
        """The job of an id, if it is in the spool."""
        return self.file.find(self.place, job_id)

    # ------------------------------------------------------------ forwarding

    def forward(self) -> None:
        """Have what waits forwarded, in the background, unless that is being done."""
        with self._lock:
            if not self._forwarding:
                self._start(self._forward())
                self._forwarding = True

    @property
    def forwards(self) -> bool:
        """Whether the background loop forwards, or has forwarded, and is connected for that."""
        return self._forwarding or self._task is not None

    async def halt(self) -> None:
        """Stop forwarding. To be awaited on the background loop."""
        task = self._task  # what was started before this has begun by now
        if task is None or task.done():
            return
        if self.forwarder.stop():
            # What is on its way may still be answered, so that it is not in doubt.
            await asyncio.wait({task}, timeout=_GRACE)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})

    async def _forward(self) -> None:
        assert self.ready is not None, "the store has this spool"
        self._task = asyncio.current_task()
        self.forwarder.stopping = False
        try:
            while not self._done():
                await self.forwarder.run(self.ready)
        except BaseException:
            self._forwarding = False
            raise

    def _done(self) -> bool:
        # Under the lock: who puts a job into the line after this look starts another run.
        with self._lock:
            if not self.forwarder.stopping and self.waits():
                return False
            self._forwarding = False
            return True

    def _tell(self, event: Event) -> None:
        self._bus.emit(event)


def _neither(
    refusal: BackendError, error: Exception | None, jobs: Sequence[NewJob], url: str
) -> Exception:
    """The error for jobs that neither the store nor the spool has taken."""
    if isinstance(error, OutcomeUnknown):
        return OutcomeUnknown(f"{error} The spool did not take it: {refusal}", job_id=jobs[0].id)
    says = f"{url} is away, and jobs wait for it" if error is None else str(error)
    return BackendUnavailable(f"{says}; the spool did not take this one: {refusal}", backend=url)


def _event(name: str, at: float, **data: Any) -> Event:
    return Event(name=name, at=at, data=data)


def passing(path: str) -> str:
    """Why a file would not outlast its machine or container; empty when nothing speaks for it."""
    place = Path(path).resolve()
    kind = file_system(str(place.parent))
    if kind in _PASSING:
        return f"it lies on a {kind} file system, which ends with its machine or container"
    if place.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        return "it lies in a directory for temporary files, which are removed"
    return ""
