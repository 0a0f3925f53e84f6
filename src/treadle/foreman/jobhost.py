"""What carries out jobs in another process: the app, loaded there, and its foreman's scope."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from treadle.depends import Scopes
from treadle.errors import Unsupported
from treadle.faults import capture
from treadle.foreman.apart import Apart
from treadle.foreman.lessons import learn
from treadle.foreman.program import JobProgram
from treadle.naming import main_module
from treadle.pools.places.process.trouble import pack_error
from treadle.pools.resident import Plan
from treadle.pools.seat import Interrupted, Seat, here
from treadle.pools.sites.account import Account, compact, expanded
from treadle.pools.sites.site import Call, Ended
from treadle.records import Note
from treadle.store import Store
from treadle.target import core_of, load

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.ports import Backend

__all__ = ["JobHost", "host_plan"]

_NOTE = msgspec.msgpack.Encoder()


def host_plan(core: Core) -> Plan:
    """How the hosts are made that run jobs of an app in other processes.

    Raises:
        Unsupported: other processes cannot find the app.
    """
    target = whereabouts(core)
    return Plan(cls=JobHost, args=(target, core.url), name="jobs", aside=("learn",))


def whereabouts(core: Core) -> str:
    """The module and the name of an app, for other processes.

    The script that runs is the last choice: who imports it does again whatever it does.

    Raises:
        Unsupported: it has none.
    """
    places = [
        (name, attribute)
        for name, module in list(sys.modules.items())
        for attribute, value in list(getattr(module, "__dict__", {}).items())
        if type(value).__name__ == "Treadle" and getattr(value, "core", None) is core
    ]
    for name, attribute in sorted(places, key=lambda place: place[0] == "__main__"):
        found = _importable(name)
        if found is not None:
            return f"{found}:{attribute}"
    raise Unsupported(
        "jobs with mode='process' or 'ray' run in processes that have to find the app: keep it in "
        "a variable at the top of a module that can be imported",
        backend="",
        feature="mode='process'",
    )


def _importable(name: str) -> str | None:
    if name == "__main__":
        return main_module()
    return None if getattr(sys.modules.get(name), "__spec__", None) is None else name


class JobHost:
    """Runs the jobs of an app in this process, one at a time.

    Args:
        target: the app.
        url: where its jobs live now.
    """

    def __init__(self, target: str, url: str) -> None:
        self._target = target
        self._url = url

    async def start(self) -> None:
        """Load the app."""
        app = load(self._target)
        core = self._core = core_of(app, self._target)
        _move(core, self._url)
        self._scopes = Scopes(core)
        await self._scopes.open()
        self._program = JobProgram(core, self._scopes)

    async def run(self, job: Call | bytes) -> Account | bytes | None:
        """Carry out a job; ``None`` when nobody has told this process what it is."""
        call = expanded(Call, job)
        if call.name not in self._core.tasks:
            return None
        seat = here()

        async def invoke(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            with seat.plain_code():
                return fn(*args, **kwargs)

        channel, now = _Channel(seat), self._core.clock.monotonic
        began = now()
        ended: Ended = await Apart(self._program(call, channel, invoke))
        return compact(_account(ended, channel, now() - began))

    def learn(self, name: str, module: str, body: bytes) -> None:
        """Take in a task that was declared after the app was loaded here."""
        learn(self._core, name, module, body)

    async def stop(self) -> None:
        """Close what lives as long as a foreman."""
        await self._scopes.aclose()
        await self._core.aclose()


def _account(ended: Ended, channel: _Channel, took: float) -> Account:
    error = ended.error
    if isinstance(error, Interrupted):
        error = channel.ending or error
    return Account(
        result=ended.result,
        error=None if error is None else pack_error(error),
        fault=None if error is None else capture(error),
        undecodable=ended.undecodable,
        unsendable=ended.unsendable,
        follow_ups=ended.follow_ups,
        committed=ended.committed,
        took=took,
    )


def _move(core: Core, url: str) -> None:
    """Have the app here work with the store of the foreman."""
    if url == core.url and not url.startswith("memory:"):
        return

    def refuse(url: str) -> Backend:
        raise Unsupported(
            f"{url} lives in the process of the foreman, and this one is another; enqueue with "
            "ctx.enqueue(…), which is part of the job, or use a store that processes share",
            backend=url,
            feature="processes",
        )

    if url.startswith("memory:"):
        core.store = Store(
            url, refuse, clock=core.clock, ids=core.ids, patience=core.patience, hear=core.hear
        )
    else:
        core.store = core.store_at(url)


class _Channel:
    """To the foreman: the place carries it."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    @property
    def stopping(self) -> bool:
        """The foreman is asked to stop."""
        return self._seat.stopping

    @property
    def ending(self) -> BaseException | None:
        """Why the attempt has to end, once it has to."""
        return self._seat.ending

    def started(self) -> None:
        """The foreman knows: it gave the job to a process that was idle."""

    def note(self, note: Note) -> None:
        """What is known of the attempt."""
        self._seat.say(_NOTE.encode(note))

    def committing(self, yes: bool) -> None:
        """A transaction is about to end the attempt, or could not."""
        self._seat.say(_NOTE.encode(yes))
