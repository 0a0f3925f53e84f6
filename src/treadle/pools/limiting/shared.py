"""Counts limits for all processes of this machine that have opened the same region."""

from __future__ import annotations

import asyncio
import math
import os
import select
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from treadle.clock import Clock, SystemClock
from treadle.errors import InvalidOption
from treadle.policies.rates import adjust, fades, reserve, spent
from treadle.policies.turnstile import Count, KeyState
from treadle.pools.limiting.keeper import Moved, Quick
from treadle.pools.limiting.processes import Identity, is_alive, myself
from treadle.pools.limiting.region import Region
from treadle.pools.limiting.tables import KEYS_MOST, SIZE, Key, Queued, Tables
from treadle.pools.noticing import waiting
from treadle.ports import Granted, Permit, Ticket, Wait
from treadle.records import Ask, Hold, Spend

__all__ = ["SharedKeeper"]

_LOOK = 0.5
"""Seconds after which who waits looks whether those before it, and those who hold, are alive."""
_SWEPT_MOST = 40
"""Records that one step frees of the dead."""


class SharedKeeper:
    """Counts in a region. What a process holds that dies goes back to the others.

    Who waits has a pipe with a name; whoever frees something writes a byte into it. Time is that
    of the machine, which is the same in all its processes.

    Args:
        path: the region.
    """

    def __init__(self, path: Path) -> None:
        self.clock: Clock = SystemClock()
        self.awaited = Quick(self, self._aturn)
        self._region = Region(path, SIZE)
        self._tables = Tables(self._region)
        self._me = myself()
        # Holds and the time of each permit of this process.
        self._permits: dict[str, tuple[float, tuple[int, ...]]] = {}
        # The pipes of those of this process who wait.
        self._pipes: dict[str, int] = {}

    @property
    def path(self) -> Path:
        """The region."""
        return self._region.path

    def forget(self) -> None:
        """In a forked child: what the parent holds stays the parent's."""
        self._region.reopen()
        self._me = myself()
        self._permits = {}
        for pipe in self._pipes.values():
            os.close(pipe)
        self._pipes = {}

    def close(self) -> None:
        """Let go of the region."""
        for pipe in self._pipes.values():
            os.close(pipe)
        self._region.close()

    # ------------------------------------------------------------- verbs

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Take all asks or none, first come first served."""
        if len(asks) > KEYS_MOST:
            raise InvalidOption(
                f"limits: {len(asks)} together are more than the {KEYS_MOST} that processes can "
                "share; use several sets",
                option="limits",
                value=len(asks),
            )
        now, tables = self.clock.monotonic(), self._tables
        wakes: list[int] = []
        with self._region:
            keys = tuple([tables.index_of(ask.key, now) for ask in asks])
            place = self._place(ticket)
            delay = math.inf if self._is_behind(keys, place) else self._short(asks, keys, now)
            if delay <= 0:
                if place is not None:
                    self._leave(place, wakes)
                answer: Granted | Wait = self._grant(asks, keys, now)
            else:
                answer = self._wait(keys, place, delay)
                if now - tables.head.swept > _LOOK:
                    wakes += self._sweep(now)
        self._wake(wakes)
        if ticket is not None and isinstance(answer, Granted):
            self._forget_pipe(ticket)
        return answer

    def release(self, permit: Permit, unused: bool) -> None:
        """Free what is held; with ``unused`` give back what was spent, too."""
        since, holds = self._permits.pop(permit.id, (None, ()))
        if since is None or (not holds and not unused):
            return
        tables, number = self._tables, permit.fence
        wakes: list[int] = []
        touched: list[int] = []
        with self._region:
            for index in holds:
                held = tables.held(index)
                if held.permit == number:
                    touched.append(self._free(index))
            if unused:
                nothing = {ask.key: 0.0 for ask in permit.asks if isinstance(ask, Spend)}
                touched += self._settle(permit, nothing, since)
            self._stir(touched, wakes)
        self._wake(wakes)

    def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key."""
        since, _ = self._permits.get(permit.id, (None, ()))
        wakes: list[int] = []
        with self._region:
            self._stir(self._settle(permit, used, since), wakes)
        self._wake(wakes)

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        wakes: list[int] = []
        with self._region:
            place = self._place(ticket)
            if place is not None:
                self._leave(place, wakes)
        self._forget_pipe(ticket)
        self._wake(wakes)

    def look(self, asks: Sequence[Ask]) -> dict[str, KeyState]:
        """What counts for the keys of these asks."""
        now = self.clock.monotonic()
        states: dict[str, KeyState] = {}
        with self._region:
            for ask in asks:
                key = self._tables.known(ask.key)
                if key is not None:
                    rate = spent(key.state, now, ask) if isinstance(ask, Spend) else key.used
                    states[ask.key] = KeyState(used=rate, waiting=key.waiting)
        return states

    def take_over(self, count: Count) -> Moved:
        """Go on with what a process has counted alone. Nobody else may know the region yet."""
        now, tables = self.clock.monotonic(), self._tables
        for name, (state, ask) in count.spent.items():
            with self._region:
                index = tables.index_of(name, now)
                tables.set_key(index, tables.key(index).spent(state, fades(state, ask)))
        permits: dict[str, Permit] = {}
        for permit, since in count.held:
            with self._region:
                keys = tuple([tables.index_of(ask.key, now) for ask in permit.asks])
                permits[permit.id] = self._grant(permit.asks, keys, since).permit
        tickets: dict[str, Ticket] = {}
        for place in count.waiting:
            with self._region:
                keys = tuple([tables.index_of(ask.key, now) for ask in place.asks])
                tickets[place.ticket.id] = self._wait(keys, None, 0.0).ticket
        return Moved(self, permits, tickets)

    # ------------------------------------------------------------- steps

    def _place(self, ticket: Ticket | None) -> tuple[int, Queued] | None:
        if ticket is None:
            return None
        index, _, number = ticket.id.partition(":")
        queued = self._tables.queued(int(index))
        return (int(index), queued) if queued.number == int(number) else None

    def _is_behind(self, keys: tuple[int, ...], place: tuple[int, Queued] | None) -> bool:
        tables = self._tables
        if not tables.head.waiting:
            return False
        if place is None:
            return any(tables.key(key).waiting for key in keys)
        mine = place[1]
        return any(
            queued.number < mine.number and not set(queued.keys).isdisjoint(mine.keys)
            for _, queued in tables.all_queued()
        )

    def _short(self, asks: tuple[Ask, ...], keys: tuple[int, ...], now: float) -> float:
        """Spend the rates if everything conforms; else the seconds after which it may."""
        tables = self._tables
        at, booked = now, list[tuple[int, Key]]()
        for ask, index in zip(asks, keys, strict=True):
            key = tables.key(index)
            if isinstance(ask, Hold):
                if key.used + min(ask.units, ask.slots) > ask.slots:
                    return math.inf
                continue
            instant, state = reserve(key.state, now, ask)
            at = max(at, instant)
            booked.append((index, key.spent(state, fades(state, ask))))
        if at <= now:
            for index, key in booked:
                tables.set_key(index, key)
        return at - now

    def _grant(self, asks: tuple[Ask, ...], keys: tuple[int, ...], now: float) -> Granted:
        tables = self._tables
        head = tables.head
        number = head.permits + 1
        tables.set_head(head._replace(permits=number))
        holds: list[int] = []
        for ask, index in zip(asks, keys, strict=True):
            if isinstance(ask, Hold):
                units = min(ask.units, ask.slots)
                key = tables.key(index)
                tables.set_key(index, key._replace(used=key.used + units))
                holds.append(tables.hold(number, self._me, index, units))
        permit = Permit(id=f"r{number}", asks=asks, who="", fence=number)
        self._permits[permit.id] = now, tuple(holds)
        return Granted(permit=permit)

    def _wait(self, keys: tuple[int, ...], place: tuple[int, Queued] | None, delay: float) -> Wait:
        if place is None:
            place = self._tables.line_up(self._me, keys)
        elif place[1].woken:
            self._tables.set_queued(place[0], place[1]._replace(woken=False))
        return Wait(delay=delay, ticket=Ticket(id=f"{place[0]}:{place[1].number}"))

    def _free(self, index: int) -> int:
        """Give back one hold; its key."""
        tables = self._tables
        held = tables.held(index)
        tables.let_go(index)
        key = tables.key(held.key)
        tables.set_key(held.key, key._replace(used=max(0, key.used - held.units)))
        return held.key

    def _settle(self, permit: Permit, used: Mapping[str, float], since: float | None) -> list[int]:
        tables, now = self._tables, self.clock.monotonic()
        touched: list[int] = []
        for ask in permit.asks:
            if isinstance(ask, Spend) and ask.key in used:
                index = tables.index_of(ask.key, now)
                key = tables.key(index)
                state = adjust(key.state, now, ask, used[ask.key], since)
                tables.set_key(index, key.spent(state, fades(state, ask)))
                touched.append(index)
        return touched

    def _leave(self, place: tuple[int, Queued], wakes: list[int]) -> None:
        self._tables.leave(*place)
        self._stir(place[1].keys, wakes)

    def _stir(self, keys: Sequence[int], wakes: list[int]) -> None:
        """Mark the first in the line of each key; what is to be woken."""
        tables = self._tables
        if not keys or not tables.head.waiting:
            return
        firsts: dict[int, tuple[int, Queued]] = {}
        for index, queued in tables.all_queued():
            for key in queued.keys:
                if key in keys and (key not in firsts or queued.number < firsts[key][1].number):
                    firsts[key] = index, queued
        for index, queued in dict(firsts.values()).items():
            if not queued.woken:
                tables.set_queued(index, queued._replace(woken=True))
            wakes.append(queued.number)

    def _sweep(self, now: float) -> list[int]:
        """Take from the dead what they hold, and their places in line."""
        tables = self._tables
        tables.set_head(tables.head._replace(swept=now))
        alive: dict[Identity, bool] = {self._me: True}

        def is_dead(who: Identity) -> bool:
            if who not in alive:
                alive[who] = is_alive(who)
            return not alive[who]

        wakes: list[int] = []
        gone = [index for index, held in tables.all_held() if is_dead(held.who)]
        touched = [self._free(index) for index in gone[:_SWEPT_MOST]]
        absent = [place for place in tables.all_queued() if is_dead(place[1].who)]
        for place in absent[: _SWEPT_MOST // 4]:
            with suppress(OSError):
                self._pipe_path(place[1].number).unlink()
            self._leave(place, wakes)
        self._stir(touched, wakes)
        return wakes

    # ------------------------------------------------------------- waiting

    def turn(self, ticket: Ticket, seconds: float) -> None:
        """Block until it may be the turn of a ticket, or the seconds have passed."""
        pipe = self._pipe(ticket)
        if self._tables.is_woken(int(ticket.id.partition(":")[0])):
            return
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        # A grant must not be asked for too soon, and poll counts in milliseconds.
        # Each look at the line is one at the call, too: nobody else writes into this pipe.
        with waiting():
            poll.poll(math.ceil(min(seconds, _LOOK) * 1000))
        _drain(pipe)

    async def _aturn(self, ticket: Ticket, seconds: float) -> None:
        pipe = self._pipe(ticket)
        if self._tables.is_woken(int(ticket.id.partition(":")[0])):
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        loop.add_reader(pipe, wake)
        timer = self.clock.call_later(min(seconds, _LOOK), wake)
        try:
            await woken
        finally:
            timer.cancel()
            loop.remove_reader(pipe)
        _drain(pipe)

    def _pipe(self, ticket: Ticket) -> int:
        pipe = self._pipes.get(ticket.id)
        if pipe is None:
            path = self._pipe_path(int(ticket.id.partition(":")[2]))
            with suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            # Opened for both directions it is never at its end.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
            pipe = self._pipes[ticket.id] = os.open(path, flags)
        return pipe

    def _pipe_path(self, number: int) -> Path:
        path = self._region.path
        return path.with_name(f"{path.name}.{number}")

    def _forget_pipe(self, ticket: Ticket) -> None:
        pipe = self._pipes.pop(ticket.id, None)
        if pipe is not None:
            with suppress(OSError):
                self._pipe_path(int(ticket.id.partition(":")[2])).unlink()
            os.close(pipe)

    def _wake(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            # Who has no pipe yet finds the mark before it waits; who is dead will be swept.
            with suppress(OSError):
                pipe = os.open(self._pipe_path(number), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    os.write(pipe, b"!")
                finally:
                    os.close(pipe)


def _drain(pipe: int) -> None:
    with suppress(BlockingIOError):
        while len(os.read(pipe, 64)) == 64:
            pass
