"""Whether there is something to claim, without claiming it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from treadle.backends.common.names import Matcher
from treadle.backends.sqlite.advance import horizon
from treadle.backends.sqlite.members import occupied
from treadle.backends.sqlite.rows import Code
from treadle.backends.sqlite.rules import Rules, read_rules
from treadle.backends.sqlite.tx import Reading

__all__ = ["Seen", "peek"]


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What is there."""

    # A claim of the queues would find something.
    ready: bool
    # Time has to move on first.
    reached: bool
    # Suspects wait for a session that holds nothing.
    suspects: bool
    # When something changes by itself.
    next_at: float | None


def peek(reading: Reading, queues: Sequence[str], matcher: Matcher) -> Seen:
    """What a claim of the queues would meet."""
    ahead = horizon(reading)
    rules = Rules(
        read_rules(reading.run("rules").fetchall()),
        reading.now,
        lambda queue: reading.total(queue, (Code.RUNNING,)),
    )

    def allowed(queue: str) -> bool:
        return matcher.place(queue) is not None and rules.room(queue) != 0

    ready = any(occupied(reading, name, Code.QUEUED, allowed) for name in queues)
    times = [ahead.next_change, rules.next_end()]
    known = [at for at in times if at is not None]
    suspects = reading.one("occupied", Code.SUSPECT, "", 1) is not None and any(
        occupied(reading, name, Code.SUSPECT, allowed) for name in queues
    )
    return Seen(
        ready=ready,
        reached=ahead.reached(reading.now),
        suspects=suspects,
        next_at=min(known) if known else None,
    )
