"""Claiming from several shards: in turns, each asked at most once for one request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from treadle.backends.redis.backend import RedisBackend
from treadle.backends.redis.sharded.forwarding import Forwarder
from treadle.backends.redis.sharded.letters import Letter
from treadle.backends.redis.sharded.placing import Placing
from treadle.errors import BackendUnavailable
from treadle.logs import get_logger
from treadle.ports import Claim, Claimed
from treadle.records import Lease, Session
from treadle.together import together

__all__ = ["Claims"]

_log = get_logger("treadle.redis")

_Names = tuple[tuple[str, ...], tuple[str, ...]]
"""Queues of a claim, and those that are excluded."""


class _Round:
    """What one request has been answered so far."""

    def __init__(self, request: int) -> None:
        self.request = request
        # The shards that were asked, in order: asked again, each repeats its answer.
        self.asked: list[int] = []
        self.answer: Claimed | None = None


class Claims:
    """The claims of one process.

    Each request begins at another shard, or at the one that told of a job last, and goes on to
    the next while there are places left. A shard of which the last claim has left nothing, and
    which has told of nothing since, is asked only when the others gave nothing, and so is one that
    did not answer the last time.
    """

    def __init__(
        self, shards: Sequence[RedisBackend], placing: Placing, letters: Forwarder
    ) -> None:
        self._shards = shards
        self._placing = placing
        self._letters = letters
        self._rounds: dict[int, _Round] = {}
        # Shards whose suspects were passed over, by the names that were asked for.
        self._suspects: dict[_Names, set[int]] = {}
        # Shards that did not answer the last time.
        self._away: set[int] = set()
        # The shard that ended the last wait.
        self.stirred: int | None = None

    def forget(self, session: Session) -> None:
        """It claims no more."""
        self._rounds.pop(session.nonce, None)

    def back(self, shard: int) -> None:
        """It answers."""
        self._away.discard(shard)

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs.

        Raises:
            BackendUnavailable: none of the shards can be asked.
        """
        nonce = ask.session.nonce
        before = self._rounds.get(nonce)
        if before is None or before.request < ask.request:
            before = self._rounds[nonce] = _Round(ask.request)
        elif before.answer is not None:
            return before.answer
        due: list[Letter] = []
        answer = await self._ask_round(ask, before, due)
        if due:
            await self._letters.send(due, own=False)
            # What they say may have made jobs ready.
            answer = msgspec.structs.replace(answer, more=True)
        before.answer = answer
        return answer

    async def _ask_round(self, ask: Claim, so_far: _Round, due: list[Letter]) -> Claimed:
        leases: list[Lease] = []
        answers: dict[int, Claimed] = {}
        suspects = self._suspects.setdefault((ask.queues, ask.exclude), set())
        order = list(self._order(ask, so_far.asked, suspects))
        failure: BackendUnavailable | None = None
        for shard, may_skip in order:
            room = ask.limit - len(leases)
            if leases and (room <= 0 or may_skip or leases[0].suspect):
                break
            if shard not in so_far.asked:
                so_far.asked.append(shard)
            try:
                part = self._part(ask, shard, room, len(leases))
                answer, letters = await together(
                    self._shards[shard].claim(part), self._letters.read(shard)
                )
            except BackendUnavailable as error:
                failure = error
                self._away.add(shard)
                _log.warning("claim.shard_failed", shard=shard, error=str(error))
                continue
            self._away.discard(shard)
            answers[shard] = answer
            due += letters
            if answer.suspects_wait:
                suspects.add(shard)
            else:
                suspects.discard(shard)
            leases += answer.leases
        if failure is not None and not leases:
            raise failure
        left = any(shard not in answers and not skipped for shard, skipped in order)
        dues = [one.next_due for one in answers.values() if one.next_due is not None]
        return Claimed(
            leases=tuple(leases),
            more=left or any(one.more for one in answers.values()),
            suspects_wait=bool(suspects) and not (leases and leases[0].suspect),
            next_due=min(dues, default=None),
        )

    def _part(self, ask: Claim, shard: int, room: int, got: int) -> Claim:
        return msgspec.structs.replace(
            ask,
            limit=room,
            holding=ask.holding + got,
            first=tuple(one for one in ask.first if self._placing.of(one) == shard),
        )

    def _order(
        self, ask: Claim, asked: Sequence[int], suspects: Iterable[int]
    ) -> Iterator[tuple[int, bool]]:
        """The shards, each with whether it is asked only when others have given nothing."""
        number = len(self._shards)
        start = ask.request % number if self.stirred is None else self.stirred
        self.stirred = None
        turns = [(start + step) % number for step in range(number)]
        named = [self._placing.of(one) for one in ask.first]
        alone = sorted(suspects) if not ask.holding else []
        idle: list[int] = []
        for shard in dict.fromkeys((*asked, *alone, *named, *turns)):
            known = self._shards[shard].knows_empty(ask.queues, ask.exclude)
            if (known or shard in self._away) and shard not in asked and shard not in alone:
                idle.append(shard)
            else:
                yield shard, False
        for shard in idle:
            yield shard, True
