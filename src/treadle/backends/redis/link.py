"""The way to the server: scripts are run, and repeated where an answer was lost.

Every request that goes through here is idempotent, so a repeat carries the same arguments and is
answered as the first one would have been.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from treadle.backends.redis.address import Address
from treadle.backends.redis.client import Client
from treadle.backends.redis.confirm import Confirmation
from treadle.backends.redis.ears import Ears
from treadle.backends.redis.refusals import AGAIN, ELSEWHERE, error_of, moved_to
from treadle.backends.redis.scripts import Script
from treadle.backends.redis.wire import Connection, Lost, Refused
from treadle.clock import Clock, SystemClock
from treadle.errors import BackendUnavailable, NotOpen
from treadle.ids import Chance

__all__ = ["Link"]

_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_MOVES = 5
"""How often one request follows its slot without a pause."""


class Link:
    """Connections to one store, a client for each event loop.

    Args:
        address: where the server is.
        chance: spreads what many processes repeat.
        clock: of the network. Not that of the jobs: a test that moves theirs by an hour has not
            waited an hour for an answer.
    """

    def __init__(self, address: Address, *, chance: Chance, clock: Clock | None = None) -> None:
        self.address = address
        self._clock = clock or SystemClock()
        self._chance = chance
        self.confirmation = Confirmation(address)
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        # Connections that were made, in all loops.
        self.connects: int = 0
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = (
            weakref.WeakKeyDictionary()
        )

    def client(self) -> Client:
        """That of the running loop.

        Raises:
            NotOpen: the store was closed.
        """
        if self._pid != os.getpid():
            # Closing them here would close the parent's.
            _of_parents.append(self._clients)
            self._reset()
        if self._closed:
            raise NotOpen(f"the backend {self.address.url} is closed; open another")
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            with self._lock:
                client = self._clients[loop] = Client(
                    self.address,
                    clock=self._clock,
                    chance=self._chance,
                    connected=self._connected,
                )
        return client

    def _connected(self) -> None:
        with self._lock:
            self.connects += 1

    @property
    def ears(self) -> Ears:
        """What the running loop listens by."""
        return self.client().ears

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """The answer of a script; it is sent again when the answer was lost.

        Raises:
            BackendUnavailable: the server did not answer, or says that it cannot now. What was
                asked may have been done.
            BackendFull: it has no memory left for what is new.
            BackendError: it refuses.
        """
        words = ("EVALSHA", script.sha, len(keys), *keys, *args)
        confirmed = self.confirmation.wanted(script)

        async def once(connection: Connection) -> Any:
            answer = connection.ask(*words)
            proof = self.confirmation.ask(connection, keys[0]) if confirmed else None
            said = await answer
            if isinstance(said, Refused) and said.code == "NOSCRIPT":
                # With the text the server knows it from now on.
                answer = connection.ask("EVAL", script.source, *words[2:])
                proof = self.confirmation.ask(connection, keys[0]) if confirmed else None
                said = await answer
            if proof is not None and not isinstance(said, Refused | Lost):
                self.confirmation.check(await proof)
            return said

        return await self._repeated(once)

    async def command(self, *words: Any) -> Any:
        """The answer to one command that may be repeated."""

        async def once(connection: Connection) -> Any:
            return await connection.ask(*words)

        return await self._repeated(once)

    async def _repeated(self, once: Any) -> Any:
        client = self.client()
        end = self._clock.monotonic() + self.address.patience
        repeats = moves = 0
        while True:
            connection: Connection | None = None
            try:
                connection = await client.connection()
                answer = await once(connection)
            except (OSError, Refused) as error:
                answer = error if isinstance(error, Refused) else Lost(str(error) or repr(error))
            if not isinstance(answer, Refused | Lost):
                return answer
            if self._followed(answer, client):
                moves += 1
                # A node that is gone is named until another has its slots.
                if moves <= _MOVES:
                    continue
            if not self._worth_repeating(answer, client):
                raise self._error(answer)
            pause = self._chance.uniform(0.5, 1.0) * min(_LONGEST_PAUSE, _PAUSE * 2.0**repeats)
            if self._clock.monotonic() + pause > end:
                raise self._error(answer)
            repeats += 1
            if isinstance(answer, Refused) and answer.code in ELSEWHERE:
                client.leave("it is a replica now")
            await self._clock.sleep(pause)

    def _followed(self, answer: Refused | Lost, client: Client) -> bool:
        """Whether a cluster named another node, which is asked from now on."""
        if not isinstance(answer, Refused) or client.node is None:
            return False
        if self.address.kind != "cluster":
            return False
        node = moved_to(answer, client.node)
        if node is not None:
            client.moved(node)
        return node is not None

    def _worth_repeating(self, answer: Refused | Lost, client: Client) -> bool:
        if isinstance(answer, Refused):
            moved = answer.code == "MOVED" and self.address.kind == "cluster"
            return answer.code in AGAIN or answer.code in ELSEWHERE or moved
        # An address at which nobody has ever answered is more likely to be wrong than away.
        return client.known

    def _error(self, answer: Refused | Lost) -> Exception:
        if isinstance(answer, Refused):
            return error_of(answer, self.address)
        url = self.address.url
        said = f"{url} does not answer: {answer}"
        if "CERTIFICATE_VERIFY_FAILED" in str(answer):
            said = (
                f"{url} shows a certificate that is not trusted: {answer}. ?tls_ca=… names the "
                "file of the authority to trust"
            )
        return BackendUnavailable(said, backend=url)

    async def aclose(self) -> None:
        """Close the client of the running loop."""
        if self._pid == os.getpid():
            client = self._clients.pop(asyncio.get_running_loop(), None)
            if client is not None:
                await client.aclose()

    def close(self) -> None:
        """Close all clients: who asks after this is refused."""
        if self._pid != os.getpid():
            return
        self._closed = True
        with self._lock:
            clients = list(self._clients.items())
            self._clients.clear()
        for loop, client in clients:
            if loop.is_closed():
                continue
            with suppress(RuntimeError):
                if loop.is_running():
                    asyncio.run_coroutine_threadsafe(client.aclose(), loop)
                else:
                    loop.run_until_complete(client.aclose())


_of_parents: list[object] = []
"""Clients of the parent, kept in a forked child."""
