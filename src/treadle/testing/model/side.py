"""One backend under the model: it knows leases, permits and tickets by names that both share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from treadle.errors import TreadleError
from treadle.fates import Fate
from treadle.ids import Ids
from treadle.ports import (
    SESSION_CELL,
    Backend,
    Change,
    Claim,
    Granted,
    Held,
    Permit,
    Query,
    Settlement,
    Ticket,
    Write,
)
from treadle.records import Ask, JobRecord, NewJob, Note, Session, SessionInfo, Token
from treadle.telling import heard
from treadle.testing.clock import ManualClock
from treadle.testing.model import told
from treadle.testing.model.told import Handle
from treadle.verdicts import Verdict

__all__ = ["Check", "End", "Hold", "Make", "Setup", "Side"]


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend of the model is built with."""

    # Empty at the beginning, the same one when the backend is opened again.
    folder: Path
    clock: ManualClock
    ids: Ids
    # Failed jobs that it is to keep; ``None`` for as many as it does by itself.
    max_failed: int | None = None


Make = Callable[[Setup], Backend]
"""Gives a backend over the store of a setup."""
Check = Callable[[Any], Coroutine[Any, Any, None]]
"""Raises when something in a backend does not fit together."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an attempt, by the name of its lease."""

    lease: Handle
    verdict: Verdict
    follow_ups: tuple[NewJob, ...] = ()
    note: Note | None = None
    # What is wrong with its token.
    forged: str = ""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """The renewal of a lease, by its name."""

    lease: Handle
    started: bool = False
    note: Note | None = None
    forged: str = ""


class Side:
    """A backend that is asked the same as another, in words that do not depend on it."""

    def __init__(self, make: Make, setup: Setup, loop: asyncio.Runner) -> None:
        self._make = make
        self._setup = setup
        self._loop = loop
        self.sessions: dict[str, Session] = {}
        self.tokens: dict[Handle, Token] = {}
        self.permits: dict[str, Permit] = {}
        self.tickets: dict[str, Ticket] = {}
        # What became of jobs by themselves, as the answers said.
        self.fates: list[Fate] = []
        self._asked: dict[str, int] = {}
        self._open()

    def _open(self) -> None:
        self._made = self._make(self._setup)
        self.backend = heard(self._made, self.fates.extend)
        self._run(self.backend.open())

    def close(self) -> None:
        """End the process that has the store."""
        self._run(self.backend.aclose())
        self.backend.close()

    def reopen(self) -> None:
        """The same store in a new process."""
        self.close()
        self._open()

    def check(self, check: Check) -> None:
        """Have the backend look at itself."""
        self._run(check(self._made))

    def _run(self, step: Coroutine[Any, Any, Any]) -> Any:
        # Not the runner's own, which looks after signals each time.
        return self._loop.get_loop().run_until_complete(step)

    def ask(self, verb: str, *args: Any, **fields: Any) -> Any:
        """What a verb of this class answers, or the name of the error that it raises."""
        try:
            return self._run(getattr(self, verb)(*args, **fields))
        except TreadleError as error:
            return f"raises {type(error).__name__}"

    # ------------------------------------------------------------ jobs

    async def open_session(self, who: str) -> Any:
        info = SessionInfo(name=who, host="host", pid=1, queues=("*",))
        session = self.sessions[who] = await self.backend.open_session(info)
        return session.info

    async def close_session(self, who: str) -> None:
        await self.backend.close_session(self.sessions[who])

    async def push(self, jobs: Sequence[NewJob]) -> Any:
        return list(await self.backend.push(jobs))

    async def claim(self, who: str, request: int, **fields: Any) -> Any:
        ask = Claim(session=self.sessions[who], request=request, **fields)
        # A repeat has the same fates again.
        backend = self._made if request == self._asked.get(who) else self.backend
        answer = await backend.claim(ask)
        self._asked[who] = request
        for lease in answer.leases:
            self.tokens[told.handle(lease)] = lease.token
        return told.claimed(answer)

    async def extend(self, who: str, holds: Sequence[Hold], lease: float) -> Any:
        held = [Held(token=self._token(one), started=one.started, note=one.note) for one in holds]
        return list(await self.backend.extend(self.sessions[who], held, lease))

    async def settle(self, ends: Sequence[End]) -> Any:
        settlements = [
            Settlement(
                token=self._token(end),
                verdict=end.verdict,
                follow_ups=end.follow_ups,
                note=end.note,
            )
            for end in ends
        ]
        return list(await self.backend.settle(settlements))

    def _token(self, one: End | Hold) -> Token:
        token = self.tokens[one.lease]
        match one.forged:
            case "nonce":
                return Token(token.job_id, token.fence, token.nonce ^ 1)
            case "fence":
                # Beyond all that there will be: the next one may have been granted.
                return Token(token.job_id, token.fence + 1000, token.nonce)
            case "job":
                return Token("nobody", token.fence, token.nonce)
            case _:
                return token

    async def find(self, query: Query) -> Any:
        return told.page(await self.backend.find(query))

    async def pages(self, query: Query) -> list[JobRecord]:
        """All records that a query finds, page by page."""
        found: list[JobRecord] = []
        while True:
            page = await self.backend.find(query)
            found += page.records
            if page.cursor is None:
                return found
            query = msgspec.structs.replace(query, cursor=page.cursor)

    async def everything(self) -> tuple[list[JobRecord], Any]:
        """All records by arrival, and the numbers that go with them."""
        query = Query(limit=1000, oldest_first=True)
        page = await self.backend.find(msgspec.structs.replace(query, counts=True))
        rest = msgspec.structs.replace(query, cursor=page.cursor)
        more = [] if page.cursor is None else await self.pages(rest)
        return [*page.records, *more], told.numbers(page)

    async def listed(self, query: Query) -> Any:
        return [told.record(one) for one in await self.pages(query)]

    async def alter(self, query: Query, change: Change) -> Any:
        return told.altered(await self.backend.alter(query, change))

    # ------------------------------------------------------------ shared state

    async def acquire(self, name: str, asks: Sequence[Ask], who: str, lease: float) -> Any:
        """Ask for a permit, with the ticket of that name if there is one."""
        answer = await self.backend.acquire(asks, who, self.tickets.get(name), lease)
        if isinstance(answer, Granted):
            self.tickets.pop(name, None)
            self.permits[name] = answer.permit
            return "granted"
        self.tickets[name] = answer.ticket
        return round(answer.delay, 6)

    async def renew(self, name: str, lease: float) -> Any:
        return await self.backend.renew(self.permits[name], lease)

    async def adjust(self, name: str, used: Mapping[str, float]) -> None:
        await self.backend.adjust(self.permits[name], used)

    async def release(self, name: str) -> None:
        await self.backend.release(self.permits[name])

    async def leave_line(self, name: str) -> None:
        await self.backend.cancel(self.tickets.pop(name))

    async def write(self, writes: Sequence[Write]) -> Any:
        return await self.backend.write(writes)

    async def cells(self, keys: Sequence[str]) -> Any:
        return dict(await self.backend.read(keys))

    async def present(self) -> Any:
        """The sessions that are present, and until when."""
        cells = await self.backend.read([f"{SESSION_CELL}*"])
        decode = msgspec.msgpack.Decoder(SessionInfo).decode
        infos = [decode(cell.value) for cell in cells.values()]
        return {info.name: info.until for info in infos}
