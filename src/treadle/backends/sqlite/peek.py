"""Whether there is something to claim, without claiming it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from treadle.backends.common.jobrow import Code
from treadle.backends.common.rules import Rules, read_rules
from treadle.backends.sqlite.advance import horizon
from treadle.backends.sqlite.members import any_occupied
from treadle.backends.sqlite.tx import Reading
from treadle.queuenames import Matcher

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
    # Queues that were looked at.
    looked: int


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

    looked = 0

    def waits(state: int) -> bool:
        nonlocal looked
        for name in queues:
            found, seen = any_occupied(reading, name, state, allowed)
            looked += seen
            if found:
                return True
        return False

    times = [ahead.next_change, rules.next_end()]
    known = [at for at in times if at is not None]
    return Seen(
        ready=waits(Code.QUEUED),
        reached=ahead.reached(reading.now),
        suspects=reading.one("occupied", Code.SUSPECT, "", 1) is not None and waits(Code.SUSPECT),
        next_at=min(known) if known else None,
        looked=looked,
    )
