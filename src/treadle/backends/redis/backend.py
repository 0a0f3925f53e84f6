"""The Redis backend as the ports describe it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from treadle.backends.common.sessions import closed
from treadle.backends.common.untold import Untold
from treadle.backends.common.waiting import Room
from treadle.backends.redis import altering, encode, finding, holding, sharing, waiting
from treadle.backends.redis.decode import claimed, pushed
from treadle.backends.redis.losses import Losses
from treadle.backends.redis.names import short
from treadle.backends.redis.probe import check, facts, level
from treadle.backends.redis.scripts import commands, script
from treadle.backends.redis.server import Server, look
from treadle.backends.redis.store import Store
from treadle.backends.redis.subscribe import Broadcast
from treadle.backends.redis.wake import Hub
from treadle.clock import SystemClock
from treadle.errors import BackendError, SchemaMismatch
from treadle.events import Event
from treadle.fates import Fate
from treadle.ids import Ids
from treadle.ports import (
    SESSION_CELL,
    Altered,
    Cell,
    Change,
    Claim,
    Claimed,
    Feature,
    Granted,
    Held,
    Page,
    Permit,
    Query,
    Settlement,
    Ticket,
    Vacancy,
    Wait,
    Write,
)
from treadle.queuenames import check_queue
from treadle.records import Ask, NewJob, Pushed, Renewal, Session, SessionInfo, Settled

__all__ = ["SETTLED", "TOGETHER", "RedisBackend"]

FORMAT, _OF_SHARDS = 1, 2
"""Of what is stored; and in a namespace of several shards, which older versions take for one."""

TOGETHER = 500
"""Jobs that one script takes in or ends: others have their turn after a few milliseconds."""

Tell = Callable[[Sequence[Event]], Awaitable[None]]

SETTLED = {
    "o": Settled.OK,
    "a": Settled.ALREADY,
    "l": Settled.LOST,
    "u": Settled.UNKNOWN,
}


class RedisBackend:
    """Jobs in one shard of a Redis or Valkey server.

    Made by :func:`treadle.backends.redis.connect`. Safe to use from any loop and thread.

    Args:
        url: as it is shown.
        store: runs scripts.
        ids: where ids and nonces come from.
        tell: publishes that data were lost, where that is not for this shard to do.
        whole: it is the only shard; with others, their composition says what became of jobs.
    """

    features = frozenset(Feature) - {Feature.TRANSACTIONS}

    def __init__(
        self, url: str, store: Store, ids: Ids, tell: Tell | None = None, *, whole: bool = True
    ) -> None:
        self.url = url
        # Never filled for one of several.
        self._untold = store.untold if whole else Untold()
        # Seen when it is opened.
        self.durability: str | None = None
        self._store = store
        self._ids = ids
        self._hub = Hub(store.link, store.prefix)
        self._broadcast = Broadcast(store.link, f"{store.prefix}events", ids=ids)
        self._losses = Losses(
            store.link,
            store.prefix,
            tell or self.publish,
            clock=store.clock,
            network=SystemClock(),
            ids=ids,
        )
        self._pid = os.getpid()

    # ------------------------------------------------------------- life

    async def open(self) -> None:
        """Reach the server and check that it can be used."""
        if self._pid != os.getpid():  # who listened is in the parent
            self._pid = os.getpid()
            self._broadcast.forget()
            self._losses.forget()
        link = self._store.link
        server = await self._look()
        check(server, link.address)
        self.durability = level(server, link.address)
        link.confirmation.by_itself = server.level == "fsync"
        await self._check_format()

    async def _look(self) -> Server:
        """What the server says of itself; in a cluster, the node that has the keys."""
        link = self._store.link
        if link.address.kind == "cluster":
            # Whoever is asked first for a key names the node.
            await link.command("EXISTS", f"{self._store.prefix}format")
        return await look(link)

    async def _check_format(self) -> None:
        mine = self._store.shards
        written = FORMAT if mine == 1 else _OF_SHARDS
        said, shards = await self._store.run("format", f"{written} {written}", mine)
        oldest = self._number(said, 1, "format", f"'{written} {written}'")
        number = self._number(shards, 0, "shards", f"'{mine}'")
        if oldest > _OF_SHARDS:
            raise SchemaMismatch(
                f"{self.url} was written by a newer version of treadle: its format needs one that "
                f"reads {oldest}, and this one reads up to {_OF_SHARDS}; update this program",
                backend=self.url,
            )
        if number != mine:
            raise SchemaMismatch(
                f"{self.url}: its namespace was made with shards={number}, and jobs are found by "
                f"that number; write ?shards={number} instead of {mine}, or take another namespace",
                backend=self.url,
            )

    async def _check_rights(self) -> None:
        """Refuse an account to which a step would be refused half way."""
        wanted = [*commands(), "SUBSCRIBE"]
        lacking = await self._store.link.run(script("rights"), [self._store.prefix], wanted)
        if lacking:
            named = " ".join(f"+{name.decode().lower()}" for name in lacking)
            raise BackendError(
                f"the account of {self.url} lacks rights: {named}, on keys ~{{NAMESPACE.* and "
                "channels &{NAMESPACE.*. docs/explanation/redis.md has the whole ACL SETUSER",
                backend=self.url,
            )

    def _number(self, said: bytes, place: int, name: str, example: str) -> int:
        """One of the numbers in a key that is written once.

        Raises:
            BackendError: it was written over.
        """
        words = said.split()
        if len(words) > place and words[place].isdigit():
            return int(words[place])
        shown = said[:40].decode(errors="replace")
        raise BackendError(
            f"{self.url} is damaged: its key {self._store.prefix}{name} is {shown!r}, which no "
            f"treadle has written. Restore a copy of the data, or take another namespace; if "
            f"nothing but this key is harmed, SET it to {example}",
            backend=self.url,
        )

    async def survey(self) -> Vacancy | None:
        """Whether nothing was ever written here; writes nothing."""
        link = self._store.link
        server = await self._look()
        await self._check_rights()
        if await link.command("EXISTS", f"{self._store.prefix}format"):
            return None
        check(server, link.address)
        return Vacancy(
            says=f"there are no keys that begin with {self._store.prefix}",
            comes="an app makes them when it first uses the store; there is nothing to install",
            facts={"backend": "redis", **facts(server, link.address)},
        )

    async def aclose(self) -> None:
        """Close the connections of the running loop; who waits in it looks again, and ends."""
        self._hub.wake_loop()
        self._broadcast.close(asyncio.get_running_loop())
        await self._store.link.aclose()

    def close(self) -> None:
        """Close all connections."""
        self._broadcast.close(None)
        self._store.link.close()

    async def probe(self) -> Mapping[str, Any]:
        """Facts for ``treadle doctor``."""
        link = self._store.link
        server = await self._look()
        counts = (await finding.find(self._store, Query(limit=0, counts=True))).counts
        sessions = await sharing.read(self._store, [f"{SESSION_CELL}*"])
        return {
            "backend": "redis",
            "schema": FORMAT,
            **facts(server, link.address),
            "jobs": sum(sum(states.values()) for states in counts.values()),
            "queues": len(counts),
            "sessions": len(sessions),
        }

    # ------------------------------------------------------------- jobs

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present."""
        number = self._ids.nonce() if nonce is None else nonce
        # What is lost before the first renewal is missed, too.
        await self._losses.look()
        return await holding.open_session(self._store, number, info)

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """End presence and give back every lease."""
        await holding.close_session(self._store, session)
        return self._untold.beside(())

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs."""
        if not jobs:
            return []
        for queue in {job.queue for job in jobs}:
            check_queue(queue)
        told = "1" if len(jobs) == 1 and self._hub.foresee(jobs[0]) else ""
        try:
            answers = await self._store.run("push", len(jobs), told, *encode.jobs(jobs))
        except BaseException:
            self._hub.forget(jobs[0].id)
            raise
        if told and answers[0] != b"0":
            self._hub.forget(jobs[0].id)
        said = [pushed(answer) for answer in answers]
        return self._untold.beside(said)

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs."""
        nonce, notices = ask.session.nonce, self._hub.notices
        answer = await self._store.run(
            "claim",
            encode.nonce(nonce),
            f"{nonce:x}",
            ask.request,
            ask.limit,
            repr(ask.lease),
            ask.holding,
            "1" if notices else "",
            len(ask.queues),
            *ask.queues,
            len(ask.exclude),
            *ask.exclude,
            *map(short, ask.first),
        )
        if not answer:
            raise closed(ask.session)
        found, damaged, emptied = claimed(answer, nonce)
        if emptied is not None:
            waiting.emptied(self._store, self._hub, ask, notices, emptied)
        if damaged:
            await self._settle([end for end, _ in damaged])
            self._store.untold.fates.extend(fate for _, fate in damaged)
        return self._untold.beside(found)

    def knows_empty(self, queues: Sequence[str], exclude: Sequence[str]) -> bool:
        """Whether a claim in the running loop has just left nothing, and nothing was told since."""
        return waiting.still_empty(self._store, self._hub, queues, exclude) is not None

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim."""
        await waiting.wait(self._store, self._hub, queues, timeout, exclude)
        return self._untold.beside(())

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Return when a queue may be below a bound."""
        await waiting.wait_for_room(self._store, self._hub, Room(queue, bound), timeout)
        return self._untold.beside(())

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew the leases that are listed."""
        renewed = await holding.extend(self._store, session, held, lease)
        # Behind what is urgent.
        await self._losses.look()
        # A renewal ends nothing, and comes from a thread where nobody is to be told anything.
        return renewed if lease > 0 else self._untold.beside(renewed)

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts."""
        answers = await self._settle(ends)
        return self._untold.beside(answers)

    async def _settle(self, ends: Sequence[Settlement]) -> list[Settled]:
        answers: list[Settled] = []
        for end in ends:
            for job in end.follow_ups:
                check_queue(job.queue)
        for at in range(0, len(ends), TOGETHER):
            some = ends[at : at + TOGETHER]
            said = await self._store.run("settle", *encode.settlements(some))
            answers += [SETTLED[letter] for letter in said.decode()]
        return answers

    async def find(self, query: Query) -> Page:
        """Look at jobs; with ``wait`` until the one asked for has changed."""
        if query.wait > 0 and len(query.ids) == 1:
            page = await waiting.watch(self._store, self._hub, query)
        else:
            page = await finding.find(self._store, query)
        return self._untold.beside(page)

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change the jobs that a query finds."""
        altered = await altering.alter(self._store, self._ids, query, change)
        return self._untold.beside(altered)

    # ------------------------------------------------------------- shared state

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Take all asks or none."""
        return await sharing.acquire(self._store, self._ids, asks, who, ticket=ticket, lease=lease)

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Keep what is held."""
        return bool(await self._store.run("renew", permit.id, repr(lease)))

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates."""
        await sharing.adjust(self._store, self._ids, permit, used)

    async def release(self, permit: Permit) -> None:
        """Free what is held."""
        await self._store.run("release", permit.id)

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line."""
        await self._store.run("cancel", ticket.id)

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        return await sharing.read(self._store, keys) if keys else {}

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none."""
        return await sharing.write(self._store, self._ids, writes)

    # ------------------------------------------------------------- events

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        await self._broadcast.publish(events)

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches the glob, from now on."""
        return self._broadcast.subscribe(pattern)
