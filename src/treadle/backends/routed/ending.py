"""Renewing and settling leases of several backends: one that is away holds up none of the others.

What one of them does not answer is answered ``unanswered``, and is asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from treadle.backends.routed.claiming import Claims
from treadle.backends.routed.part import Part
from treadle.backends.routed.routes import Routes
from treadle.errors import BackendError, TreadleError
from treadle.failpoints import failpoint
from treadle.logs import get_logger
from treadle.ports import Held, Settlement
from treadle.records import NewJob, OnConflict, Renewal, Session, Settled, Token
from treadle.together import all_of
from treadle.verdicts import Done

__all__ = ["Endings"]

T = TypeVar("T")
_log = get_logger("treadle.routed")
_PATIENCE = 5.0
"""Seconds that a backend has to answer a settle or a renewal."""
# Of several answers about one lease, the one that counts.
_SETTLED = (Settled.OK, Settled.ALREADY, Settled.UNANSWERED, Settled.LOST, Settled.UNKNOWN)
_RENEWED = (Renewal.CANCEL, Renewal.HELD, Renewal.UNANSWERED, Renewal.LOST)


class Endings:
    """What becomes of leases.

    Args:
        parts: the backends.
        routes: say which queues they have.
        claims: know which of them has granted what.
    """

    def __init__(self, parts: Sequence[Part], routes: Routes, claims: Claims) -> None:
        self._parts = parts
        self._routes = routes
        self._claims = claims

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew leases and presence, answers in order.

        Raises:
            BackendError: nothing is held, and no backend answers.
        """
        seats = self._claims.seats(session)
        groups = self._grouped([one.token for one in held], seats)
        if not any(one.note is not None for one in held):
            groups = {**{to: [] for to in seats}, **groups}
        patience = min(_PATIENCE, lease / 6) if lease > 0 else _PATIENCE
        failures: list[Exception] = []

        async def renew(to: int, ats: list[int]) -> Sequence[Renewal]:
            own, some = seats.get(to, session), [held[at] for at in ats]
            try:
                return await self._parts[to].soon(
                    lambda one: one.extend(own, some, lease), patience
                )
            except BackendError as error:
                failures.append(error)
                _log.warning("part.not_renewed", backend=self._parts[to].name, error=str(error))
                return [Renewal.UNANSWERED] * len(ats)

        parts = await all_of(renew(to, ats) for to, ats in groups.items())
        if failures and not held and len(failures) == len(groups):
            raise failures[0]
        answers = _best(list(zip(groups.values(), parts, strict=True)), len(held), _RENEWED)
        for one, answer in zip(held, answers, strict=True):
            if answer is Renewal.LOST:
                self._claims.held.pop(one.token, None)
        return answers

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts, answers in order."""
        own, late = await self._push_far(ends)
        groups = self._grouped([end.token for end in own], None)

        async def settle(to: int, ats: list[int]) -> Sequence[Settled]:
            some = [own[at] for at in ats if at not in late]
            answers = iter(await self._settle(to, some))
            return [Settled.UNANSWERED if at in late else next(answers) for at in ats]

        parts = await all_of(settle(to, ats) for to, ats in groups.items())
        answers = _best(list(zip(groups.values(), parts, strict=True)), len(own), _SETTLED)
        for end, answer in zip(own, answers, strict=True):
            if answer is not Settled.UNANSWERED:
                self._claims.held.pop(end.token, None)
        return answers

    async def _settle(self, to: int, ends: Sequence[Settlement]) -> Sequence[Settled]:
        if not ends:
            return []
        try:
            return await self._parts[to].soon(lambda one: one.settle(ends), _PATIENCE)
        except BackendError as error:
            _log.warning("part.not_settled", backend=self._parts[to].name, error=str(error))
            return [Settled.UNANSWERED] * len(ends)

    def _grouped(
        self, tokens: Sequence[Token], seats: Mapping[int, Session] | None
    ) -> dict[int, list[int]]:
        """Backend to the indices of the leases that it is asked about.

        Those of another process may be anywhere; who does not know them says so.
        """
        groups: dict[int, list[int]] = {}
        everywhere = list(range(len(self._parts))) if seats is None else list(seats)
        for at, token in enumerate(tokens):
            to = self._claims.held.get(token)
            for one in everywhere if to is None else (to,):
                groups.setdefault(one, []).append(at)
        return groups

    # ------------------------------------------------------------- follow-ups

    async def _push_far(
        self, ends: Sequence[Settlement]
    ) -> tuple[Sequence[Settlement], frozenset[int]]:
        """Push what follows in other backends, before that counts as ended which it follows.

        Who dies in between ends nothing: the attempt that comes next has follow-ups of the same
        ids, which are known then.

        Returns:
            The ends with the follow-ups that their own backends push, and the indices of those
            that cannot be settled yet.
        """
        if not any(end.follow_ups for end in ends):
            return ends, frozenset()
        far: dict[int, list[tuple[int, NewJob]]] = {}
        own: list[Settlement] = []
        failed: set[int] = set()
        for at, end in enumerate(ends):
            near = end.follow_ups
            if isinstance(end.verdict, Done) and not self._are_near(end):
                try:
                    home = await self._holder(end.token)
                except BackendError:
                    failed.add(at)
                    home = None
                near = () if home is None else tuple(self._of(home, end.follow_ups))
                for job in end.follow_ups if home is not None else ():
                    if job not in near:
                        far.setdefault(self._routes.of(job.queue), []).append((at, _follow_up(job)))
            own.append(msgspec.structs.replace(end, follow_ups=near))
        for to, jobs in far.items():
            if not await self._push(to, [job for _, job in jobs]):
                failed.update(at for at, _ in jobs)
        failpoint("routed.pushed_before_settle")
        return own, frozenset(failed)

    def _are_near(self, end: Settlement) -> bool:
        home = self._claims.held.get(end.token)
        return home is not None and len(self._of(home, end.follow_ups)) == len(end.follow_ups)

    def _of(self, to: int, jobs: Sequence[NewJob]) -> list[NewJob]:
        return [job for job in jobs if self._routes.of(job.queue) == to]

    async def _holder(self, token: Token) -> int | None:
        """The backend in which a lease still counts; of others nothing may follow."""
        known = self._claims.held.get(token)
        session, lease = self._claims.lease_of(token.nonce)
        held = Held(token=token, started=True)
        for to in range(len(self._parts)) if known is None else (known,):
            [answer] = await self._parts[to].soon(
                lambda one: one.extend(session, [held], lease), _PATIENCE
            )
            if answer is not Renewal.LOST:
                return to
        return None

    async def _push(self, to: int, jobs: list[NewJob]) -> bool:
        """Push follow-ups; whether that need not be repeated."""
        part = self._parts[to]
        try:
            await part.soon(lambda one: one.push(jobs), _PATIENCE)
        except BackendError as error:
            _log.warning("part.not_followed", backend=part.name, jobs=len(jobs), error=str(error))
            return False
        except TreadleError as error:
            if len(jobs) > 1:
                done = [await self._push(to, [job]) for job in jobs]
                return all(done)
            # Refused for good: the end of the attempt does not fail because of it.
            _log.error(
                "part.refused_follow_up", backend=part.name, job=jobs[0].id, error=str(error)
            )
        return True


def _follow_up(job: NewJob) -> NewJob:
    """A follow-up as a settle would push it: bounds do not count, the holder of a key stays."""
    unique = job.unique
    if unique is not None and unique.on_conflict is not OnConflict.SKIP:
        unique = msgspec.structs.replace(unique, on_conflict=OnConflict.SKIP)
    return msgspec.structs.replace(job, bound=None, unique=unique)


def _best(
    parts: Sequence[tuple[Sequence[int], Sequence[T]]], number: int, order: Sequence[T]
) -> list[T]:
    """The answers in order; of several about one, that which comes first in the order."""
    ranks: dict[int, int] = {}
    for ats, answers in parts:
        for at, answer in zip(ats, answers, strict=True):
            rank = order.index(answer)
            ranks[at] = min(ranks.get(at, rank), rank)
    return [order[ranks[at]] for at in range(number)]
