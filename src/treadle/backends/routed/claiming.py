"""Claiming from several backends, in turns; one that is away holds up none of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from treadle.backends.common.sessions import closed
from treadle.backends.common.untold import Untold
from treadle.backends.routed.part import Part
from treadle.backends.routed.routes import Names, Routes
from treadle.backends.routed.seats import Seat
from treadle.clock import Clock
from treadle.errors import BackendError, BackendUnavailable
from treadle.ids import Ids
from treadle.ports import Backend, Claim, Claimed
from treadle.queuenames import ALL
from treadle.records import Lease, Session, SessionInfo, Token
from treadle.together import all_of, first_of

__all__ = ["Claims"]

T = TypeVar("T")
_LEASE = 30.0
"""Seconds of a lease of which nothing else is known."""
_TURNS = 256
"""Sets of queues whose turns are remembered for one foreman."""


class _Foreman:
    """What is known of one session."""

    def __init__(self, seats: dict[int, Seat]) -> None:
        self.seats = seats
        # The last request that was answered, and how.
        self.request = 0
        self.answer = Claimed()
        # Seconds that the last claim asked for.
        self.lease = _LEASE
        # Claims so far, by what was asked for: whose turn it is to be first.
        self.turns: dict[tuple[Names, Names], int] = {}


class Claims:
    """The sessions and claims of one process.

    Queues that are preferred alike are claimed from their backends in turns; of others those of the
    first come first, wherever they live.

    Args:
        parts: the backends.
        routes: say which queues they have.
        untold: is given the fates of jobs that no answer of theirs has.
        clock, ids: of the app.
    """

    def __init__(
        self, parts: Sequence[Part], routes: Routes, untold: Untold, *, clock: Clock, ids: Ids
    ) -> None:
        self._parts = parts
        self._routes = routes
        self._untold = untold
        self._clock = clock
        self._ids = ids
        self._foremen: dict[int, _Foreman] = {}
        # Where the jobs are that foremen of this process have.
        self.held: dict[Token, int] = {}
        # The backend that ended the last wait.
        self._stirred: int | None = None

    # ------------------------------------------------------------- sessions

    async def open(self, info: SessionInfo, nonce: int | None) -> Session:
        """Make a foreman present in each backend that has some of its queues.

        Raises:
            BackendUnavailable: none of them answers.
        """
        number = self._ids.nonce() if nonce is None else nonce
        plan = self._routes.plan(info.queues or (ALL,), info.exclude)
        seats = {to: self._seat(to, info, number) for to in plan.names}

        failures: list[BackendError] = []

        async def present(seat: Seat) -> Session | None:
            try:
                return await seat.open()
            except BackendError as error:
                failures.append(error)
                return None

        opened = await all_of(map(present, seats.values()))
        sessions = [one for one in opened if one is not None]
        if failures and not sessions:
            raise failures[0]
        self._foremen[number] = _Foreman(seats)
        return sessions[0] if sessions else Session(nonce=number, info=info)

    def _seat(self, to: int, info: SessionInfo, nonce: int) -> Seat:
        return Seat(self._parts[to], info, nonce, clock=self._clock, ids=self._ids)

    def seats(self, session: Session) -> Mapping[int, Session]:
        """Its sessions, by backend; itself in all backends where it is one of another process."""
        known = self._foremen.get(session.nonce)
        if known is None:
            return dict.fromkeys(range(len(self._parts)), session)
        return {to: seat.session for to, seat in known.seats.items() if seat.session is not None}

    def lease_of(self, nonce: int) -> tuple[Session, float]:
        """The session of a token, and the seconds of its leases."""
        for foreman in self._foremen.values():
            for seat in foreman.seats.values():
                if seat.session is not None and seat.session.nonce == nonce:
                    return seat.session, foreman.lease
        return Session(nonce=nonce, info=SessionInfo(name="")), _LEASE

    async def close(self, session: Session) -> None:
        """End presence and give back every lease, everywhere.

        Raises:
            BackendError: of a backend that did not answer, after all were asked.
        """
        sessions = self.seats(session)
        known = self._foremen.pop(session.nonce, None)
        if known is not None:
            await all_of(seat.close() for seat in known.seats.values())
        nonces = {one.nonce for one in sessions.values()}
        for token in [one for one in self.held if one.nonce in nonces]:
            del self.held[token]
        await all_of(self._parts[to].ask(partial(self._close, own)) for to, own in sessions.items())

    async def _close(self, session: Session, backend: Backend) -> None:
        self._untold.fates.extend(await backend.close_session(session))

    # ------------------------------------------------------------- claims

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs.

        Raises:
            LeaseLost: the session is closed or unknown.
            BackendUnavailable: none of the backends can be asked.
        """
        foreman = self._foremen.get(ask.session.nonce)
        if foreman is None:
            raise closed(ask.session)
        if ask.request > foreman.request:
            foreman.lease = ask.lease
            answer = await self._claim(foreman, ask)
            foreman.request, foreman.answer = ask.request, answer
        return foreman.answer

    async def _claim(self, foreman: _Foreman, ask: Claim) -> Claimed:
        leases: list[Lease] = []
        answers: list[Claimed] = []
        away: set[int] = set()
        left = False
        for to, queues, exclude in self._order(foreman, ask):
            room = ask.limit - len(leases)
            if room <= 0 or (leases and leases[0].suspect):
                left = True
                break
            if to in away:
                continue
            if to not in foreman.seats:
                foreman.seats[to] = self._seat(to, ask.session.info, ask.session.nonce)
            part = msgspec.structs.replace(
                ask, limit=room, queues=queues, exclude=exclude, holding=ask.holding + len(leases)
            )
            answer = await foreman.seats[to].claim(part)
            if answer is None:
                away.add(to)
                continue
            answers.append(answer)
            leases += answer.leases
            self.held.update(dict.fromkeys((one.token for one in answer.leases), to))
        if away and not answers:
            raise self._all_away(away)
        dues = [one.next_due for one in answers if one.next_due is not None]
        suspect = bool(leases) and leases[0].suspect
        return Claimed(
            leases=tuple(leases),
            more=left or any(one.more for one in answers),
            suspects_wait=any(one.suspects_wait for one in answers) and not suspect,
            next_due=min(dues, default=None),
        )

    def _all_away(self, away: set[int]) -> BackendUnavailable:
        names = " and ".join(str(self._parts[to]) for to in sorted(away))
        return BackendUnavailable(
            f"backend {names} cannot be asked", backend=self._parts[min(away)].backend.url
        )

    def _order(self, foreman: _Foreman, ask: Claim) -> Iterator[tuple[int, Names, Names]]:
        """Backends to ask, one after the other, each with its queues."""
        key = (ask.queues, ask.exclude)
        if len(foreman.turns) > _TURNS:
            foreman.turns.clear()
        turn = foreman.turns[key] = foreman.turns.get(key, -1) + 1
        stirred, self._stirred = self._stirred, None
        for tier in self._routes.plan(*key).tiers:
            order = _turned(list(tier.asks), turn)
            if stirred in tier.asks:
                order.sort(key=lambda to: to != stirred)
            for to in order:
                names = [name for group in tier.asks[to] for name in _turned(group, turn)]
                yield to, tuple(names), tier.excludes[to]

    async def wait(self, queues: Sequence[str], timeout: float, exclude: Sequence[str]) -> None:
        """Return when there may be something to claim in any backend."""
        names = self._routes.plan(queues, exclude).names

        async def hint(to: int) -> None:
            served, out = names[to]

            async def wait(one: Backend) -> None:
                self._untold.fates.extend(await one.wait(served, timeout, out))

            await self._parts[to].ask(wait)

        asked = list(names)
        if len(asked) == 1:
            await hint(asked[0])
        elif asked and timeout <= 0:
            # A mere look is one at all of them.
            await all_of(map(hint, asked))
        elif asked:
            self._stirred = asked[await first_of(map(hint, asked))]
        else:
            await self._clock.sleep(timeout)


def _turned(names: Sequence[T], turn: int) -> list[T]:
    at = turn % len(names)
    return [*names[at:], *names[:at]]
