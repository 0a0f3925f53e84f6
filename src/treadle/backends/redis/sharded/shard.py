"""The steps of one shard that post letters to others with what they do."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from treadle.backends.redis import encode
from treadle.backends.redis.backend import SETTLED, TOGETHER, RedisBackend
from treadle.backends.redis.decode import pushed
from treadle.backends.redis.names import short
from treadle.backends.redis.sharded.letters import Elsewhere, Letter, Writer, posted
from treadle.backends.redis.sharded.placing import Placing
from treadle.backends.redis.store import Store
from treadle.ports import Settlement
from treadle.records import NewJob, Pushed, Settled
from treadle.verdicts import Done

__all__ = ["Shard"]

_Posted = list[tuple[Letter, bytes, bytes]]


class Shard:
    """One of several shards.

    Args:
        number: from 0.
        backend: all that it does by itself.
        store: runs its scripts.
        placing: says what is in other ones.
        writer: of letters to them.
    """

    def __init__(
        self, number: int, backend: RedisBackend, store: Store, placing: Placing, writer: Writer
    ) -> None:
        self.number = number
        self.backend = backend
        self._store = store
        self._placing = placing
        self._writer = writer
        self._elsewhere = Elsewhere(placing, number)

    async def push(self, jobs: Sequence[NewJob]) -> tuple[Sequence[Pushed], list[Letter]]:
        """Add jobs; the answers, and the letters to deliver."""
        letters = [letter for job in jobs for letter in self._writer.awaits(job)]
        if not letters:
            return await self.backend.push(jobs), []
        said = await self._store.run(
            "push_out",
            len(jobs),
            "",
            *encode.jobs(jobs, self._elsewhere),
            *posted([(one, b"", b"") for one in letters]),
        )
        return [pushed(answer) for answer in said], letters

    async def settle(self, ends: Sequence[Settlement]) -> tuple[list[Settled], list[Letter]]:
        """End attempts; the answers, and the letters to deliver."""
        answers: list[Settled] = []
        sent: list[Letter] = []
        for at in range(0, len(ends), TOGETHER):
            some = ends[at : at + TOGETHER]
            letters: list[list[Letter]] = []
            near: list[Settlement] = []
            for end in some:
                own, others = self._parted(end)
                near.append(own)
                letters.append(others)
            if any(letters):
                part = await self._settle_posting(near, letters)
            else:
                part = list(await self.backend.settle(some))
            answers += part
            for answer, others in zip(part, letters, strict=True):
                # Of one that had ended before, nothing was posted by this request.
                if answer is Settled.OK:
                    sent += others
        return answers, sent

    async def _settle_posting(
        self, ends: Sequence[Settlement], letters: Sequence[Sequence[Letter]]
    ) -> list[Settled]:
        with_them: _Posted = [
            (letter, short(end.token.job_id), encode.token(end.token))
            for end, others in zip(ends, letters, strict=True)
            for letter in others
        ]
        said: bytes = await self._store.run(
            "settle_out", *encode.settlements(ends, self._elsewhere), *posted(with_them)
        )
        return [SETTLED[letter] for letter in said.decode()]

    def _parted(self, end: Settlement) -> tuple[Settlement, list[Letter]]:
        """The end with what of its follow-ups stays here, and the letters for the rest."""
        if not end.follow_ups or not isinstance(end.verdict, Done):
            return end, []
        near: list[NewJob] = []
        letters: list[Letter] = []
        for job in end.follow_ups:
            if self._placing.of_job(job) == self.number:
                near.append(job)
                letters += self._writer.awaits(job)
            else:
                letters.append(self._writer.follow_up(self.number, job))
        if not letters:
            return end, []
        return msgspec.structs.replace(end, follow_ups=tuple(near)), letters
