"""A namespace of several shards as the ports describe it: a composition of backends of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from treadle.backends.common.merging import altered_of, page_of
from treadle.backends.redis import sharing
from treadle.backends.redis.backend import RedisBackend
from treadle.backends.redis.finding import find
from treadle.backends.redis.sharded.claiming import Claims
from treadle.backends.redis.sharded.forwarding import Forwarder
from treadle.backends.redis.sharded.letters import Letter, Writer, posted
from treadle.backends.redis.sharded.placing import Placing
from treadle.backends.redis.sharded.refused import check_push, check_rules
from treadle.backends.redis.sharded.shard import Shard
from treadle.backends.redis.store import Store
from treadle.durability import least
from treadle.events import Event
from treadle.fates import Fate
from treadle.ids import Ids
from treadle.ports import (
    ALTER_MAX,
    EXAMINE_MAX,
    QUEUE_CELL,
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
from treadle.records import (
    Ask,
    NewJob,
    Pushed,
    PushStatus,
    Renewal,
    Session,
    SessionInfo,
    Settled,
)
from treadle.together import all_of, first_of, split, together

__all__ = ["ShardedBackend"]


class ShardedBackend:
    """Jobs in several shards of one namespace, on as many nodes of a cluster as have their slots.

    A job lives in one shard, and all that it names with it. Cells, sessions and events are those
    of the first one.

    Args:
        url: as it is shown.
        shards: the backend of each, the first one at home.
        stores: that these are made of.
        ids: give letters their names.
    """

    features = frozenset(Feature) - {
        Feature.TRANSACTIONS,
        Feature.ORDER,
        Feature.TOGETHER,
        Feature.BOUNDS,
    }

    def __init__(
        self, url: str, shards: Sequence[RedisBackend], stores: Sequence[Store], ids: Ids
    ) -> None:
        self.url = url
        self._shards = tuple(shards)
        self._home = self._shards[0]
        self._placing = Placing(len(self._shards))
        self._writer = Writer(self._placing, ids)
        self._ids = ids
        self._stores = tuple(stores)
        self._letters = Forwarder(self._stores, ids)
        self._posts = [
            Shard(number, shard, store, self._placing, self._writer)
            for number, (shard, store) in enumerate(zip(shards, stores, strict=True))
        ]
        self._claims = Claims(self._shards, self._placing, self._letters)
        self._untold = stores[0].untold

    # ------------------------------------------------------------- life

    async def open(self) -> None:
        """Reach the servers and check that they can be used."""
        # The number of shards is told by the first, before anything is written to others.
        await self._home.open()
        await all_of(shard.open() for shard in self._shards[1:])

    @property
    def durability(self) -> str | None:
        """What all shards give; ``None`` as long as it was not seen."""
        given = [shard.durability for shard in self._shards]
        known = [one for one in given if one is not None]
        return least(known) if len(known) == len(given) else None

    async def survey(self) -> Vacancy | None:
        """Whether nothing was ever written to some shard; writes nothing."""
        found = await all_of(shard.survey() for shard in self._shards)
        return next((vacancy for vacancy in found if vacancy is not None), None)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await all_of(shard.aclose() for shard in self._shards)

    def close(self) -> None:
        """Close all connections."""
        for shard in self._shards:
            shard.close()

    async def probe(self) -> Mapping[str, Any]:
        """Facts for ``treadle doctor``: those of the first server, and numbers of all."""
        facts = await all_of(shard.probe() for shard in self._shards)
        queues = (await self.find(Query(limit=0, counts=True))).counts
        return {
            **facts[0],
            "shards": len(facts),
            "jobs": sum(one["jobs"] for one in facts),
            "queues": len(queues),
        }

    # ------------------------------------------------------------- jobs

    def placed(self, job: NewJob) -> str:
        """The id to give to a job, which tells its shard.

        Raises:
            InvalidOption: what it names lies in different shards.
        """
        return self._placing.placed(job)

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present in all shards."""
        session = await self._home.open_session(info, nonce)
        await all_of(shard.open_session(info, session.nonce) for shard in self._shards[1:])
        return session

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """End presence and give back every lease."""
        self._claims.forget(session)
        await all_of(shard.close_session(session) for shard in self._shards)
        await self._letters.collect(range(len(self._shards)))
        return self._untold.beside(())

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs: one step for each shard that gets some."""
        if not jobs:
            return []
        for job in jobs:
            check_queue(job.queue)
            check_push(self.url, job)
        letters: list[Letter] = []

        async def some(shard: int, part: list[NewJob]) -> Sequence[Pushed]:
            answers, posted = await self._posts[shard].push(part)
            letters.extend(posted)
            return answers

        answers = await split(jobs, self._placing.of_job, some)
        # Now that all are there that may wait for each other.
        await self._letters.send(letters, own=True)
        if any(answer.status is PushStatus.REPLACED for answer in answers):
            # Whoever waited for the job that was there is to be told.
            await self._letters.collect(range(len(self._shards)))
        return self._untold.beside(answers)

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs: one step for each shard that is asked."""
        return self._untold.beside(await self._claims.claim(ask))

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim in any shard."""
        await self._first(
            partial(RedisBackend.wait, queues=queues, timeout=timeout, exclude=exclude), timeout
        )
        return self._untold.beside(())

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Return when any shard may be below a bound. No push is ever answered ``full``."""
        await self._first(
            partial(RedisBackend.wait_for_room, queue=queue, bound=bound, timeout=timeout), timeout
        )
        return self._untold.beside(())

    async def _first(self, hint: Any, timeout: float) -> None:
        """Wait in all shards until it ends in one of them; a mere look is one at all of them."""
        if timeout <= 0:
            await all_of(map(hint, self._shards))
        else:
            self._claims.stirred = await first_of(map(hint, self._shards))

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew the leases that are listed, and presence in every shard."""
        answers: dict[int, Renewal] = {}
        places: list[list[int]] = [[] for _ in self._shards]
        for at, one in enumerate(held):
            places[self._placing.of(one.token.job_id)].append(at)

        async def renew(number: int, ats: list[int]) -> Sequence[Renewal]:
            answer = await self._shards[number].extend(session, [held[at] for at in ats], lease)
            self._claims.back(number)
            return answer

        renewed = await all_of(renew(number, ats) for number, ats in enumerate(places))
        for ats, some in zip(places, renewed, strict=True):
            answers.update(zip(ats, some, strict=True))
        said = [answers[at] for at in range(len(held))]
        # A renewal ends nothing, and comes from a thread where nobody is to be told anything.
        return said if lease > 0 else self._untold.beside(said)

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts: one step for each shard that had some."""
        if not ends:
            return []
        for end in ends:
            for job in end.follow_ups:
                check_queue(job.queue)
        letters: list[Letter] = []
        due: list[Letter] = []

        async def some(shard: int, part: list[Settlement]) -> Sequence[Settled]:
            # On the same way: what the ends have to say to other shards.
            (answers, posted), found = await together(
                self._posts[shard].settle(part), self._letters.read(shard)
            )
            letters.extend(posted)
            due.extend(found)
            return answers

        answers = await split(ends, lambda end: self._placing.of(end.token.job_id), some)
        await self._letters.send(letters, own=True)
        await self._letters.send(due, own=False)
        return self._untold.beside(answers)

    async def find(self, query: Query) -> Page:
        """Look at jobs, in one shard where the query says in which."""
        shard = None if query.counts else self._placing.of_query(query)
        if shard is not None:
            return self._untold.beside(await self._shards[shard].find(query))
        page = await self._page(query)
        # Time has moved on everywhere, and jobs that ended by it may be waited for elsewhere.
        await self._letters.collect(range(len(self._shards)))
        return self._untold.beside(page)

    async def _page(self, query: Query) -> Page:
        def ask(shard: int, part: Query, asked: int) -> Awaitable[Page]:
            return find(self._stores[shard], part, EXAMINE_MAX // asked)

        return await page_of(len(self._stores), query, ask)

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change the jobs that a query finds."""
        answer = await self._alter(query, change)
        await self._letters.collect(range(len(self._shards)))
        return self._untold.beside(answer)

    async def _alter(self, query: Query, change: Change) -> Altered:
        shard = self._placing.of_query(query)
        if shard is not None:
            return await self._shards[shard].alter(query, change)
        most = min(query.limit, ALTER_MAX)
        page = await self._page(msgspec.structs.replace(query, limit=most))

        async def some(shard: int, ids: list[str]) -> Altered:
            narrowed = msgspec.structs.replace(query, ids=tuple(ids), cursor=None, limit=len(ids))
            return await self._shards[shard].alter(narrowed, change)

        return await altered_of(page, lambda record: self._placing.of(record.id), some)

    # ------------------------------------------------------------- shared state

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Take all asks or none; they are those of one shard."""
        return await self._limits(asks).acquire(asks, who, ticket, lease)

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Keep what is held."""
        return await self._limits(permit.asks).renew(permit, lease)

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates."""
        await self._limits(permit.asks).adjust(permit, used)

    async def release(self, permit: Permit) -> None:
        """Free what is held."""
        await self._limits(permit.asks).release(permit)

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line, wherever it is."""
        await all_of(shard.cancel(ticket) for shard in self._shards)

    def _limits(self, asks: Sequence[Ask]) -> RedisBackend:
        return self._shards[self._placing.of_asks(asks)]

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        return await self._home.read(keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none; the rules of queues are brought to every shard."""
        check_rules(self.url, writes)
        cells = [one.key for one in writes if one.key.startswith(QUEUE_CELL)]
        if not cells:
            return await self._home.write(writes)
        letters = list(self._writer.rules(cells))
        args = posted([(one, b"", b"") for one in letters])
        written = await sharing.write(self._stores[0], self._ids, writes, "write_out", *args)
        await self._letters.send(letters, own=True)
        return written

    # ------------------------------------------------------------- events

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        await self._home.publish(events)

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches the glob, from now on."""
        return self._home.subscribe(pattern)
