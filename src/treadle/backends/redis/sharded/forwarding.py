"""Bringing letters from the outbox of one shard to the shard that they are for.

Each is delivered at least once, and what is delivered twice is heard once. Who posts letters brings
them away himself; those that somebody could not, because he died, any claim does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treadle.backends.common.cells import written_rule
from treadle.backends.redis.encode import Arg, rule
from treadle.backends.redis.layout import STATES
from treadle.backends.redis.sharded.letters import (
    AWAIT,
    ENDED,
    FOLLOW,
    RULE,
    Letter,
    posted,
)
from treadle.backends.redis.store import Store
from treadle.errors import BackendError
from treadle.failpoints import failpoint
from treadle.ids import Ids
from treadle.logs import get_logger
from treadle.ports import Write
from treadle.records import JobState
from treadle.together import all_of

__all__ = ["Forwarder"]

_log = get_logger("treadle.redis")
_TOGETHER = 200
"""Letters that are read from one outbox at a time."""
_ROUNDS = 100
"""Steps of a chain of jobs in different shards that one verb takes."""
_PATIENCE = 60.0
"""Seconds for which a job that is awaited and unknown may still be on its way."""
_FAILED = STATES.index(JobState.FAILED)


class Forwarder:
    """Delivers letters.

    Args:
        stores: of the shards.
        ids: gives requests their names.
    """

    def __init__(self, stores: Sequence[Store], ids: Ids) -> None:
        self._stores = stores
        self._ids = ids

    async def read(self, shard: int) -> list[Letter]:
        """Those in the outbox of a shard that are due."""
        said = await self._stores[shard].run("out_read", _TOGETHER)
        return [
            Letter(source=shard, name=said[at].decode(), text=said[at + 2], age=float(said[at + 1]))
            for at in range(0, len(said), 3)
        ]

    async def collect(self, shards: Iterable[int]) -> None:
        """Deliver what is due in the outboxes of shards."""
        try:
            found = await all_of(map(self.read, shards))
        except BackendError as error:
            _log.warning("letters.not_read", error=str(error))
            return
        await self.send([one for some in found for one in some], own=False)

    async def send(self, letters: Sequence[Letter], *, own: bool) -> None:
        """Deliver letters, and what comes of them. What cannot be delivered now stays posted.

        Args:
            own: all that was to be pushed with them is there, so a job that is awaited and
                unknown will not come.
        """
        try:
            rounds = 0
            while letters and rounds < _ROUNDS:
                rounds += 1
                touched = await self._deliver(letters, own=own)
                own = False
                letters = [
                    one for some in await all_of(map(self.read, sorted(touched))) for one in some
                ]
        except BackendError as error:
            _log.warning("letters.not_delivered", letters=len(letters), error=str(error))

    async def _deliver(self, letters: Sequence[Letter], *, own: bool) -> set[int]:
        """Deliver these; the shards that may have posted others."""
        failpoint("letters.before_delivery")
        kinds: dict[bytes, list[Letter]] = {}
        for letter in letters:
            kinds.setdefault(letter.kind, []).append(letter)
        follow_ups = kinds.get(FOLLOW, [])
        await self._follow(follow_ups)
        # Only now: they may wait for each other.
        posted_too = [one for letter in follow_ups for one in letter.job[1]]
        waiting = [*kinds.get(AWAIT, ()), *posted_too]
        known = await self._await(waiting, own=own or bool(posted_too))
        await self._tell(
            [(letter.to, *letter.ids, letter.state) for letter in kinds.get(ENDED, ())]
        )
        for letter in kinds.get(RULE, ()):
            await self._copy(letter)
        failpoint("letters.before_drop")
        away = [one for one in letters if one.kind != AWAIT or one.name in known]
        await self._drop([*away, *(one for one in posted_too if one.name in known)])
        return {one.to for one in letters} | {one.source for one in waiting}

    async def _follow(self, letters: Sequence[Letter]) -> None:
        by_shard: dict[int, list[Letter]] = {}
        for letter in letters:
            by_shard.setdefault(letter.to, []).append(letter)
        for shard, some in by_shard.items():
            args: list[Arg] = []
            with_them: list[tuple[Letter, bytes, bytes]] = []
            for letter in some:
                job, more = letter.job
                args += job
                with_them += [(one, b"", b"") for one in more]
            await self._stores[shard].run("follow_out", len(some), *args, *posted(with_them))

    async def _await(self, letters: Sequence[Letter], *, own: bool) -> set[str]:
        """Have jobs told of the ends of others; the names of the letters that are done with."""
        by_shard: dict[int, list[Letter]] = {}
        for letter in letters:
            by_shard.setdefault(letter.to, []).append(letter)
        known: set[str] = set()
        ends: list[tuple[int, bytes, bytes, int]] = []
        for shard, some in by_shard.items():
            args: list[Arg] = []
            for letter in some:
                other, who = letter.ids
                args += (other, bytes((letter.source,)) + who)
            said: bytes = await self._stores[shard].run("await", *args)
            for letter, answer in zip(some, said.decode(), strict=True):
                other, who = letter.ids
                if answer == "u" and not own and letter.age < _PATIENCE:
                    continue
                known.add(letter.name)
                if answer != "w":
                    state = _FAILED if answer == "u" else int(answer)
                    ends.append((letter.source, who, other, state))
        await self._tell(ends)
        return known

    async def _tell(self, ends: Iterable[tuple[int, bytes, bytes, int]]) -> None:
        """Tell jobs of the ends of others: a shard, who waits there, whom for, how it ended."""
        by_shard: dict[int, list[Arg]] = {}
        for shard, who, other, state in ends:
            by_shard.setdefault(shard, []).extend((who, other, state))
        for shard, args in by_shard.items():
            await self._stores[shard].run("deliver", *args)

    async def _copy(self, letter: Letter) -> None:
        """Bring a rule as it is now to a shard, unless that has a newer one."""
        cell = letter.cell
        seq, seconds, stored = await self._stores[0].run("rule_of", cell)
        said = None if not stored else written_rule(Write(key=cell, value=stored[1:]))
        args = (self._ids.new(), 1, cell, "", stored, seconds, rule(said), seq)
        await self._stores[letter.to].run("rule_copy", *args)

    async def _drop(self, letters: Sequence[Letter]) -> None:
        names: dict[int, list[str]] = {}
        for letter in letters:
            names.setdefault(letter.source, []).append(letter.name)
        await all_of(self._stores[shard].run("out_drop", *some) for shard, some in names.items())
