"""The part of a backend that the loops and threads of a process share."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import msgspec

from treadle.backends.common.hub import Hub
from treadle.backends.common.settings import Settings
from treadle.backends.common.subscribers import Subscribers
from treadle.backends.common.untold import Untold
from treadle.backends.postgres.address import Address
from treadle.backends.postgres.client import Client, Wire
from treadle.backends.postgres.ears import Ears
from treadle.backends.postgres.link import Link, Work
from treadle.backends.postgres.migrate import how_they_come, install, lacking
from treadle.backends.postgres.notices import Notices, pack, unpack
from treadle.backends.postgres.probe import durability_of, survey
from treadle.backends.postgres.reading import Reading
from treadle.backends.postgres.seen import Seen, Since, Swept
from treadle.backends.postgres.statements import channel_of, load, lock_of
from treadle.backends.postgres.tx import Tx
from treadle.backends.postgres.wake import Notice
from treadle.clock import Clock, SystemClock
from treadle.durability import gives
from treadle.errors import Unsupported
from treadle.events import Event
from treadle.ids import Ids
from treadle.ports import Vacancy

if TYPE_CHECKING:
    from treadle.backends.postgres.within_place import Place

__all__ = ["Store"]

T = TypeVar("T")
_NEAR = 10.0
"""Seconds ahead of which other processes are told; they look by themselves that often."""
_WANTED = 15.0
"""Seconds for which others are told of what they said they want."""
_WATCHED_MOST = 10_000
"""Jobs that are waited for, above which those that nobody waits for any more are forgotten."""


class Store:
    """One namespace in one process: connections, and who waits.

    It does not survive a fork: the child makes another one, see :meth:`abandon`.
    """

    def __init__(
        self, address: Address, namespace: str, settings: Settings, *, clock: Clock, ids: Ids
    ) -> None:
        self.address = address
        self.namespace = namespace
        self.settings = settings
        self.clock = clock
        self.sql = load(namespace)
        self.hub = Hub()
        self.subscribers = Subscribers()
        self.untold = Untold()
        self.link = Link(address, chance=ids.chance, equip=self._equip)
        # The server's clock, unless a test has its own.
        self._real = isinstance(clock, SystemClock)
        self._network: Clock = SystemClock()
        self._lock = lock_of(namespace)
        self._channel = channel_of(namespace)
        self._origin = f"{os.getpid()}-{ids.nonce():016x}"
        self._installed = False
        # What it gives, seen when it is opened.
        self.durability: str | None = None
        # Which database it is, seen when a caller has brought a connection; and the connections of
        # which it is known that they lead there.
        self.place: Place | None = None
        self.lenders: WeakSet[Any] = WeakSet()
        self._seen = Seen(self._network)
        self._swept = Swept(self._network)
        # Until when others want to be told of room and of events.
        self._room_wanted = self._events_wanted = 0.0
        # Jobs of which others want to hear every change, or the end alone, and until when.
        self._watched: dict[str, float] = {}
        self._awaited: dict[str, float] = {}

    @property
    def now(self) -> float | None:
        """The time that is passed to the server; ``None`` where it goes by its own."""
        return None if self._real else self.clock.now()

    @property
    def since(self) -> Since:
        """Up to when nothing is left to be seen; from time to time nothing is taken so."""
        return Since(self._seen.since(), *self._swept.since())

    def saw(self, now: float) -> None:
        """All that had lapsed by now has been seen."""
        if self._real:
            self._seen.saw(now)

    def asks_to_sweep(self) -> bool:
        """Whether who only looks is to remove some of what has run out as well."""
        # A test with a clock of its own wants all in order.
        return not self._real or self._swept.asks()

    def swept(self, kept: float, gone: float) -> None:
        """No jobs and no tombstones are left that had run out by these instants."""
        if self._real:
            self._swept.saw(kept, gone)

    # ------------------------------------------------------------- steps

    async def open(self) -> None:
        """Reach the server, and make the tables where they are missing."""
        if not self._installed:
            await self.link.do(Work(self._install))
            self._installed = True

    async def survey(self) -> Vacancy | None:
        """What is missing of the tables; makes and changes none."""

        async def work(wire: Wire) -> Vacancy | None:
            says = await lacking(wire, self.namespace)
            if says is None:
                return None
            now = self.now or await wire.fetchval(self.sql["now"], None)
            facts = await survey(Reading(wire, self.sql, float(now)))
            return Vacancy(says=says, comes=how_they_come(self.address), facts=facts)

        return await self.link.do(Work(work))

    async def _install(self, wire: Wire) -> None:
        await install(wire, self.namespace, self.address)
        given = durability_of(await wire.fetchrow(self.sql["server"]))
        wanted = self.address.durability
        if wanted is not None and not gives(given, wanted):
            raise Unsupported(
                f"{self.address.url} gives durability={given}: ALTER ROLE … SET "
                "synchronous_commit = on, and ALTER SYSTEM SET fsync = on; or write "
                "?durability=normal and live with what may be lost",
                backend=self.address.url,
                feature=f"durability={wanted}",
            )
        self.durability = given

    async def write(
        self, run: Callable[[Tx], Awaitable[T]], *, durable: bool = True, again: bool = True
    ) -> T:
        """Carry out a step in a transaction of its own.

        Args:
            run: the step.
            durable: it has to reach the disk before it is answered.
            again: it may be carried out twice, because it sees that it was carried out before.
        """
        await self.open()

        async def work(wire: Wire) -> T:
            await wire.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            try:
                began = await wire.fetchrow(self.sql["begin"], self._lock, self.now, durable)
                assert began is not None
                tx = Tx(
                    wire, self.sql, self.settings, began["now"], since=self.since, real=self._real
                )
                answer = await run(tx)
                await tx.finish()
            except Exception:
                if not wire.is_closed():
                    await wire.execute("ROLLBACK")
                raise
            await wire.execute("COMMIT")
            self._committed(tx)
            return answer

        return await self.link.do(Work(work, again=again))

    async def read(self, look: Callable[[Reading], Awaitable[T]], *, at: float | None = None) -> T:
        """Look at the database.

        Args:
            look: does it.
            at: the moment, where it is known already.
        """
        await self.open()

        async def work(wire: Wire) -> T:
            now = self.now if at is None else at
            if now is None:
                now = await wire.fetchval(self.sql["now"], None)
            return await look(Reading(wire, self.sql, float(now), since=self.since))

        return await self.link.do(Work(work))

    async def call(self, name: str, *values: Any) -> Sequence[Any]:
        """The rows of one statement that is a step of its own."""
        await self.open()

        async def work(wire: Wire) -> Sequence[Any]:
            return await wire.fetch(self.sql[name], *values)

        return await self.link.do(Work(work))

    # ------------------------------------------------------------- waking

    def _committed(self, tx: Tx) -> None:
        """Tell who waits what a transaction changed."""
        self.swept(tx.since.kept, tx.since.gone)
        self.untold.fates.extend(tx.fates)
        self.tell(self.notice_of(tx), tx.now)

    def notice_of(self, tx: Tx) -> Notice:
        """What a transaction means to those who wait."""
        return Notice(
            ready=tuple(tx.ready),
            changed=tuple(tx.changed),
            ended=tuple(tx.ended),
            freed={queue: -by for queue, by in tx.grown.items() if by < 0},
            earliest=tx.earliest,
            stirred=tx.stirred,
        )

    def tell(self, notice: Notice, now: float) -> None:
        """Tell those who wait in this process, and in others what concerns them.

        Args:
            notice: what has changed.
            now: when.
        """
        self.hub.tell(notice)
        rest = self.for_others(notice, now)
        if rest != _NOTHING:
            self.announce(rest)

    def for_others(self, notice: Notice, now: float) -> Notice:
        """What of a notice other processes need: what is near, or what they have asked for."""
        near = notice.earliest is not None and notice.earliest - now <= _NEAR
        room = self._network.monotonic() < self._room_wanted
        watched, awaited = self._watched, self._awaited
        return msgspec.structs.replace(
            notice,
            changed=tuple(job for job in notice.changed or () if job in watched),
            ended=tuple(job for job in notice.ended if job in awaited or job in watched),
            freed=notice.freed if room else {},
            earliest=notice.earliest if near else None,
        )

    def announce(self, notice: Notice) -> None:
        """Tell other processes, and the other stores of this one."""
        if self.address.notify:
            self.link.local.notices.tell(notice)

    def publish(self, events: Sequence[Event]) -> None:
        """Tell the subscribers of this process, and of others where there are some."""
        self.subscribers.deliver(events)
        if self._network.monotonic() < self._events_wanted:
            self.announce(Notice(events=tuple(events)))

    def _equip(self, client: Client) -> tuple[Ears, Notices]:
        async def send(notice: Notice) -> int:
            wire = await client.take()
            broken = True
            try:
                number = await self._notify(wire, notice)
                broken = False
                return number
            finally:
                client.put(wire, broken=broken)

        ears = Ears(
            self.address,
            self._channel,
            heard=self._heard,
            lost=lambda: self.hub.tell(_ANYTHING),
            ping=self._ping,
            clock=self._network,
        )
        return ears, Notices(send, self._network)

    async def _notify(self, wire: Wire, notice: Notice) -> int:
        """Tell others; the number of the notice."""
        text = pack(self._origin, notice)
        number: int = await wire.fetchval(self.sql["notify"], self._channel, text, True)
        return number

    @property
    def wants(self) -> Notice:
        """What this process wants to be told of."""
        return Notice(wants_room=self.hub.short_of_room, wants_events=not self.subscribers.nobody)

    async def _ping(self, wire: Wire) -> None:
        wants = self.wants
        if wants == _NOTHING:
            await wire.fetch(self.sql["now"], None)
        else:
            await self._notify(wire, wants)

    def _heard(self, text: str) -> None:
        origin, notice = unpack(text)
        if origin == self._origin:
            return
        until = self._network.monotonic() + _WANTED
        if notice.wants_room:
            self._room_wanted = until
        if notice.wants_events:
            self._events_wanted = until
        if notice.wants_jobs:
            self._watch(notice.wants_jobs, until)
        if notice.events:
            self.subscribers.deliver(notice.events)
        self.hub.tell(notice)

    def _watch(self, jobs: Sequence[tuple[str, bool]], until: float) -> None:
        for job, ended in jobs:
            (self._awaited if ended else self._watched)[job] = until
        now = until - _WANTED
        for watched in (self._watched, self._awaited):
            if len(watched) > _WATCHED_MOST:
                for job in [job for job, at in watched.items() if at <= now]:
                    del watched[job]

    # ------------------------------------------------------------- the end

    async def aclose(self, loop: Any) -> None:
        """Close what a loop has; who waits in it goes on."""
        self.hub.wake_loop(loop)
        self.subscribers.close(loop)
        await self.link.aclose()

    def close(self) -> None:
        """Close all connections."""
        self.hub.wake_loop(None)
        self.subscribers.close(None)
        self.link.close()

    def abandon(self) -> None:
        """Forget it in a forked child, where the connections are still the parent's."""
        self.link.abandon()


_NOTHING = Notice()
_ANYTHING = Notice(changed=None, stirred=True)
