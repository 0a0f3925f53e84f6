"""The way between processes and their store: slow, unreliable, and the same for the same seed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from fnmatch import fnmatchcase
from random import Random  # noqa: TID251 - seeded
from typing import Any

import msgspec

from treadle.errors import BackendUnavailable
from treadle.events import Event
from treadle.ports import Backend, Feature
from treadle.testing.simulation.audit import Audit
from treadle.testing.simulation.loop import Process, SimulatedLoop, aside

__all__ = ["FAIR", "Link", "Network", "Weather"]

# What only takes time and changes nothing: ended with the one who asked.
_WAITS = frozenset({"wait", "find"})
# Seconds that a call takes in good weather.
_SWIFT = 0.01
_LOCAL = frozenset({"open", "aclose"})


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How likely it is that a call is not simply carried out."""

    # The request never arrives.
    lost: float = 0.0
    # It is carried out, and the answer never arrives.
    unheard: float = 0.0
    # The caller is told that the connection broke; the request arrives later all the same.
    overtaken: float = 0.0
    # It is carried out once more, later.
    twice: float = 0.0
    # It takes seconds instead of milliseconds.
    slow: float = 0.0


FAIR = Weather()


class Network:
    """Carries requests to one store, in tasks of its own, whatever becomes of those who asked.

    Args:
        store: whom all requests reach.
        audit: told of each request that was carried out, and of its answer.
    """

    def __init__(self, store: Backend, audit: Audit, loop: SimulatedLoop) -> None:
        self.store = store
        self.audit = audit
        self.loop = loop
        self.weather = FAIR
        # What is under way, and whether it changes something.
        self._carrying: dict[asyncio.Task[None], bool] = {}
        self._ears: list[_Ear] = []

    def link(self, process: Process, chance: Random) -> Any:
        """The connection of a process: a backend."""
        return Link(self, process, chance)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way that makes or changes jobs."""
        return not any(self._carrying.values())

    def carry(self, request: _Request) -> None:
        """Send it on its way."""
        task = aside(self._carry(request))
        request.task = task
        self._carrying[task] = request.verb in ("push", "alter")
        task.add_done_callback(self._carrying.pop)

    async def _carry(self, request: _Request) -> None:
        fate = request.fate
        await asyncio.sleep(fate.there)  # noqa: TID251 - virtual time
        if fate.lost:
            return request.fail(request.error)
        if fate.again is not None:
            self.carry(request.repeated(fate.again))
        try:
            answer = await self._carry_out(request)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            await asyncio.sleep(fate.back)  # noqa: TID251 - virtual time
            return request.fail(error)
        await asyncio.sleep(fate.back)  # noqa: TID251 - virtual time
        return request.fail(request.error) if fate.unheard else request.answer(answer)

    async def _carry_out(self, request: _Request) -> Any:
        if request.verb == "publish":
            return self._publish(request.args[0])
        answer = await getattr(self.store, request.verb)(*request.args, **request.kwargs)
        self.audit.carried_out(request.sender, request.verb, request.args, answer)
        return answer

    def listen(self, ear: _Ear) -> None:
        """Give it the events that arrive from now on."""
        self._ears.append(ear)

    def _publish(self, events: Sequence[Event]) -> None:
        for ear in self._ears:
            wanted = [event for event in events if fnmatchcase(event.name, ear.pattern)]
            if wanted and not ear.link.lossy():
                self.loop.call_later(ear.link.transit(), ear.hear, wanted)


class _Fate(msgspec.Struct, kw_only=True):
    there: float
    back: float
    lost: bool = False
    unheard: bool = False
    # Seconds after which the caller is told that the connection broke.
    broken: float | None = None
    # Seconds after which it arrives a second time.
    again: float | None = None


class _Request:
    """One call on its way."""

    __slots__ = ("args", "error", "fate", "kwargs", "reply", "sender", "task", "verb")

    def __init__(
        self,
        sender: Process,
        call: tuple[str, tuple[Any, ...], dict[str, Any]],
        fate: _Fate,
        error: Exception,
        reply: asyncio.Future[Any],
    ) -> None:
        self.sender = sender
        self.verb, self.args, self.kwargs = call
        self.fate = fate
        self.error = error
        self.reply = reply
        self.task: asyncio.Task[None] | None = None

    def repeated(self, later: float) -> _Request:
        """The same again, which nobody waits for."""
        fate = _Fate(there=later, back=0.0)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply.cancel()
        return _Request(self.sender, (self.verb, self.args, self.kwargs), fate, self.error, reply)

    def answer(self, answer: Any) -> None:
        if not self.reply.done():
            self.reply.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class Link:
    """The connection of one process to the store. A backend for whoever calls its verbs.

    Args:
        chance: decides what happens to each call.
    """

    features = frozenset(Feature) - {Feature.TRANSACTIONS}
    url = "simulated://"

    def __init__(self, network: Network, process: Process, chance: Random) -> None:
        self._network = network
        self._process = process
        self._chance = chance
        # Nothing passes.
        self.cut = False
        self._waiting: dict[_Request, None] = {}
        process.at_death.append(self._hang_up)

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_") or not hasattr(Backend, verb):
            raise AttributeError(verb)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return None if verb in _LOCAL else await self._call((verb, args, kwargs))

        setattr(self, verb, call)
        return call

    def close(self) -> None:
        """The store is everybody's."""

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events that get through."""
        ear = _Ear(self, pattern)
        self._network.listen(ear)
        return ear.events()

    async def _call(self, call: tuple[str, tuple[Any, ...], dict[str, Any]]) -> Any:
        loop = self._network.loop
        reply: asyncio.Future[Any] = loop.create_future()
        fate = self._fate()
        request = _Request(self._process, call, fate, self._error(call[0]), reply)
        sent, audit = loop.time(), self._network.audit
        audit.sent(self._process, *call[:2])
        self._network.carry(request)
        if fate.broken is not None:
            loop.call_later(fate.broken, request.fail, request.error)
        if call[0] not in _WAITS:
            answer = await reply
            audit.heard(*call[:2], answer, sent)
            return answer
        self._waiting[request] = None
        try:
            return await reply
        finally:
            self._waiting.pop(request, None)
            if request.task is not None:
                request.task.cancel()

    def _hang_up(self) -> None:
        for request in list(self._waiting):
            if request.task is not None:
                request.task.cancel()

    def lossy(self) -> bool:
        """Whether an event is lost."""
        return self.cut or self._chance.random() < 0.2

    def transit(self) -> float:
        """Seconds that something takes to get through."""
        if self._chance.random() < self._network.weather.slow:
            return self._chance.choice((0.3, 2.0, 8.0)) * self._chance.random()
        return self._chance.uniform(0.0001, 0.004)

    def _fate(self) -> _Fate:
        weather, chance = self._network.weather, self._chance
        fate = _Fate(there=self.transit(), back=self.transit())
        if self.cut:
            fate.lost, fate.there = True, chance.uniform(0.0, 3.0)
        draw = chance.random()
        for name in ("lost", "unheard", "overtaken", "twice"):
            share = getattr(weather, name)
            if draw < share:
                self._spoil(fate, name)
                break
            draw -= share
        taken = fate.there + fate.back
        if taken > _SWIFT or fate.lost or fate.unheard or fate.broken is not None:
            self._process.harm(taken)
        return fate

    def _spoil(self, fate: _Fate, how: str) -> None:
        if how == "overtaken":
            fate.broken = fate.there
            fate.there += self._chance.choice((0.01, 1.0, 15.0)) * self._chance.random()
        elif how == "twice":
            fate.again = self._chance.choice((0.01, 1.0, 15.0)) * self._chance.random()
        else:
            setattr(fate, how, True)

    def _error(self, verb: str) -> Exception:
        kind = self._chance.choice((ConnectionResetError, BackendUnavailable, TimeoutError))
        return kind(f"{verb}: the connection broke")


class _Ear:
    """One who listens to events."""

    def __init__(self, link: Link, pattern: str) -> None:
        self.link = link
        self.pattern = pattern
        self._heard: asyncio.Queue[Event] = asyncio.Queue()

    def hear(self, events: Sequence[Event]) -> None:
        for event in events:
            self._heard.put_nowait(event)

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._heard.get()
