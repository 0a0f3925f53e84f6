"""One connection to a server, in one event loop.

Requests are sent when they are made and answered in the order in which they were sent, so that what
many coroutines ask at once travels together. Who is cancelled while he waits leaves a place
in that order, and so nobody ever reads the answer to somebody else's request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
import msgspec

from treadle.clock import Clock, Timer

__all__ = ["Connection", "Connector", "Lost", "Refused"]

# Its stub says less than a strict checker wants.
_pack = cast("Callable[[tuple[Any, ...]], bytes]", cast("Any", hiredis).pack_command)
_DOUBT = 0.05
"""Seconds between the last two looks at a connection that seems dead."""
_HANDSHAKE = 0.8
"""Share of the patience that an agreement on TLS may take."""
_NO_VERSION = "WRONG_VERSION_NUMBER"
"""What the first words of a server without TLS look like."""
_NO_TLS = (
    "accepts connections and does not speak TLS: write redis:// or valkey://, or give the port "
    "for TLS"
)
_MAYBE_TLS = "at the first word; if it wants TLS there, write rediss:// or valkeys://"
_PROGRESS = 1024
"""Bytes that show that a long answer is still on its way."""


class Lost(ConnectionError):
    """The connection ended, or nothing came for too long: what was asked may have been done."""


class Refused(Exception):
    """The server refused a request; ``code`` is the first word of why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.split(" ", 1)[0]


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """How to come into a server, wherever it is."""

    user: str
    password: str
    db: int
    tls: ssl.SSLContext | None
    # Seconds without an answer after which a connection is given up.
    patience: float
    clock: Clock

    async def connect(
        self, host: str, port: int, heard: Callable[[Any], None] | None = None
    ) -> Connection:
        """A connection that is ready for requests.

        Args:
            host, port: of the server.
            heard: takes all that the server says, where the connection is for listening only.

        Raises:
            OSError: it cannot be reached.
            Refused: it does not let us in.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.patience):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.clock, self.patience),
                    host,
                    port,
                    ssl=self.tls,
                    # Before the time is over, so that the two can be told apart.
                    ssl_handshake_timeout=self.patience * _HANDSHAKE if self.tls else None,
                )
        except TimeoutError:
            raise Lost(f"{host}:{port} did not accept a connection in time") from None
        except (ConnectionAbortedError, ssl.SSLError) as error:
            plain = isinstance(error, ConnectionAbortedError) or error.reason == _NO_VERSION
            if self.tls is None or not plain:
                raise
            raise Lost(f"{host}:{port} {_NO_TLS}") from None
        try:
            await self._enter(connection)
        except BaseException as error:
            connection.abort()
            if isinstance(error, Lost) and self.tls is None and not connection.answered:
                raise Lost(f"{error}, {_MAYBE_TLS}") from None
            raise
        connection.heard = heard
        return connection

    async def _enter(self, connection: Connection) -> None:
        asked: list[asyncio.Future[Any]] = []
        if self.password:
            login = (self.user, self.password) if self.user else (self.password,)
            asked.append(connection.ask("AUTH", *login))
        if self.db:
            asked.append(connection.ask("SELECT", self.db))
        # Only to be told apart in CLIENT LIST; an account may lack the right to it.
        named = connection.ask("CLIENT", "SETNAME", "treadle")
        # Where no account is needed, and none that fits was given, this one is refused.
        asked.append(connection.ask("PING"))
        for answer in asked:
            raise_failure(await answer)
        if isinstance(failure := await named, Lost):
            raise failure


class Connection(asyncio.Protocol):
    """A connection that was made. Lives in one loop; nothing of it may be used elsewhere."""

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock = clock
        self._patience = patience
        self._reader = hiredis.Reader(replyError=Refused)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._timer: Timer | None = None
        # When something last came, and how much has come of an answer that is not complete.
        self._heard_at = 0.0
        self._partial = 0
        # It seemed dead at the last look, which may have been because this loop stood still.
        self._doubted = False
        self.heard: Callable[[Any], None] | None = None
        # Whether anything ever came that was an answer.
        self.answered = False
        # Why it ended.
        self.lost: Lost | None = None

    # ------------------------------------------------------------- asking

    def ask(self, *words: Any) -> asyncio.Future[Any]:
        """The answer, in a future; a :class:`Refused` or :class:`Lost` is a *result* of it."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.lost is not None or self._transport is None:
            answer.set_result(self.lost or Lost("the connection is closed"))
            return answer
        if not self._waiting:
            self._heard_at = self._clock.monotonic()
        self._waiting.append(answer)
        self._transport.write(_pack(words))
        if self._timer is None:
            self._timer = self._clock.call_later(self._patience, self._look)
        return answer

    def say(self, *words: Any) -> None:
        """Send something whose answer goes to ``heard``."""
        if self.lost is None and self._transport is not None:
            self._transport.write(_pack(words))

    def _look(self) -> None:
        """Give up when nothing came for too long, although something was asked."""
        self._timer = None
        if not self._waiting or self.lost is not None:
            return
        silent = self._clock.monotonic() - self._heard_at
        if silent < self._patience:
            wait = self._patience - silent
            self._doubted = False
        elif not self._doubted:
            # The answer may lie here unread, behind whatever kept this loop from its turn.
            wait = _DOUBT
            self._doubted = True
        else:
            self.abort(f"no answer for {silent:.1f} s")
            return
        self._timer = self._clock.call_later(wait, self._look)

    # ------------------------------------------------------------- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._partial += len(data)
        if self._partial >= _PROGRESS:
            self._partial = 0
            self._heard_at = self._clock.monotonic()
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not False:
                self._answered(answer)
        except hiredis.ProtocolError as error:
            self.abort(f"what came is no answer of Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose("the server closed the connection" if exc is None else str(exc) or repr(exc))
        if not self._ended.done():
            self._ended.set_result(None)

    def _answered(self, answer: Any) -> None:
        self._partial = 0
        self.answered = True
        self._heard_at = self._clock.monotonic()
        if self.heard is not None:
            self.heard(answer)
        elif self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(answer)
        else:
            self.abort("the server said what nobody had asked")

    # ------------------------------------------------------------- ending

    def abort(self, reason: str = "it was closed here") -> None:
        """End it now; whoever waits for an answer is told that it was lost."""
        self._lose(reason)
        if self._transport is not None:
            self._transport.abort()

    async def aclose(self) -> None:
        """End it, and return when its socket is closed."""
        self.abort()
        if self._transport is not None:
            await self._ended

    def _lose(self, reason: str) -> None:
        if self.lost is not None:
            return
        self.lost = Lost(reason)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(self.lost)
        if self.heard is not None:
            self.heard(self.lost)


def raise_failure(answer: Any) -> Any:
    """The answer, when it is one."""
    if isinstance(answer, Refused | Lost):
        raise answer
    return answer
