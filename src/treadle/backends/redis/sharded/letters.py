"""What one shard has to say to another: letters, as they are kept in an outbox.

The first byte of a text says what it is, the second to which shard it goes:

- ``f``: a follow-up is to be pushed. Its arguments, and the letters that its shard posts with it.
- ``a``: a job waits for one of that shard: the id of that one, the id of who waits.
- ``e``: a job has ended: its state, the id of who waits for it, its own. ``lua/endings.lua``
  writes these.
- ``r``: the rule of a queue has changed: its cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from treadle.backends.redis.encode import Arg, jobs
from treadle.backends.redis.names import short
from treadle.backends.redis.sharded.placing import Placing
from treadle.ids import Ids
from treadle.records import NewJob

__all__ = ["AWAIT", "ENDED", "FOLLOW", "RULE", "Elsewhere", "Letter", "Writer", "posted"]

FOLLOW, AWAIT, ENDED, RULE = b"f", b"a", b"e", b"r"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[Any], list[tuple[str, bytes]]]).decode


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One letter."""

    # The shard in whose outbox it is.
    source: int
    # Made by who posts it, so that it is the same one when it is posted again.
    name: str
    text: bytes
    # Seconds since it was posted.
    age: float = 0.0

    @property
    def kind(self) -> bytes:
        """What it is."""
        return self.text[:1]

    @property
    def to(self) -> int:
        """The shard to which it goes."""
        return self.text[1]

    @property
    def job(self) -> tuple[list[Arg], list[Letter]]:
        """The arguments of a follow-up, and the letters to post with it."""
        args, letters = _decode(self.text[2:])
        return args, [Letter(source=self.to, name=name, text=text) for name, text in letters]

    @property
    def ids(self) -> tuple[bytes, bytes]:
        """The two jobs of one that is awaited or has ended, as they are stored."""
        at = 3 if self.kind == ENDED else 2
        first = int.from_bytes(self.text[at : at + 2], "little")
        second = at + 2 + first
        return self.text[at + 2 : second], self.text[second + 2 :]

    @property
    def state(self) -> int:
        """The number of the state in which the job ended."""
        return self.text[2]

    @property
    def cell(self) -> str:
        """The cell of a rule."""
        return self.text[2:].decode()


class Elsewhere:
    """The ids of jobs that are in other shards than one."""

    def __init__(self, placing: Placing, shard: int) -> None:
        self._placing = placing
        self._shard = shard

    def __contains__(self, job_id: object) -> bool:
        return isinstance(job_id, str) and self._placing.of(job_id) != self._shard


class Writer:
    """Writes letters.

    Args:
        placing: says where jobs are.
        ids: gives letters their names.
    """

    def __init__(self, placing: Placing, ids: Ids) -> None:
        self._placing = placing
        self._ids = ids

    def awaits(self, job: NewJob) -> Iterator[Letter]:
        """To the shards of jobs that one waits for, when they are others than its own."""
        if job.after is None:
            return
        source = self._placing.of(job.id)
        for other in dict.fromkeys(job.after.ids):
            to = self._placing.of(other)
            if to != source:
                text = AWAIT + bytes((to,)) + _sized(short(other)) + _sized(short(job.id))
                yield self._letter(source, text)

    def follow_up(self, source: int, job: NewJob) -> Letter:
        """To the shard of a follow-up."""
        to = self._placing.of_job(job)
        args = jobs((job,), Elsewhere(self._placing, to))
        letters = [(one.name, one.text) for one in self.awaits(job)]
        return self._letter(source, FOLLOW + bytes((to,)) + _encode((args, letters)))

    def rules(self, cells: Iterable[str]) -> Iterator[Letter]:
        """From the first shard to all others, that rules have changed."""
        for cell in cells:
            for to in range(1, self._placing.shards):
                yield self._letter(0, RULE + bytes((to,)) + cell.encode())

    def _letter(self, source: int, text: bytes) -> Letter:
        return Letter(source=source, name=f"{self._ids.nonce():x}", text=text)


def posted(
    letters: Sequence[tuple[Letter, bytes, bytes]],
) -> list[Arg]:
    """Letters, each with a job and its token or nothing, as ``lua/posting.lua`` wants them."""
    args: list[Arg] = []
    for letter, job_id, token in letters:
        args += (job_id, token, letter.name, letter.text)
    return [*args, len(letters)]


def _sized(stored: bytes) -> bytes:
    return len(stored).to_bytes(2, "little") + stored
