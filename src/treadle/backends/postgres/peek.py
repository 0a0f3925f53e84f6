"""Whether there is something to claim, without claiming it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from treadle.backends.common.jobrow import Code
from treadle.backends.common.rules import Rules, read_rules
from treadle.backends.postgres.advance import Horizon
from treadle.backends.postgres.members import any_occupied
from treadle.backends.postgres.reading import Reading
from treadle.queuenames import Matcher

__all__ = ["Seen", "peek"]


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What is there."""

    # A claim of the queues would find something.
    ready: bool
    # Suspects wait for a session that holds nothing.
    suspects: bool
    # When something changes by itself.
    next_at: float | None
    now: float


async def peek(reading: Reading, ahead: Horizon, queues: Sequence[str], matcher: Matcher) -> Seen:
    """What a claim of the queues would meet, and by what comes next when it would meet more."""
    table = read_rules(await reading.run("rules"))
    running = {
        name: await reading.total(name, (Code.RUNNING,))
        for name, (rule, _) in table.items()
        if rule.max_running is not None
    }
    rules = Rules(table, reading.now, running.__getitem__)

    def allowed(queue: str) -> bool:
        return matcher.place(queue) is not None and rules.room(queue) != 0

    async def waits(state: int) -> bool:
        for name in queues:
            if (await any_occupied(reading, name, state, allowed))[0]:
                return True
        return False

    times = [ahead.next_change, rules.next_end()]
    known = [at for at in times if at is not None]
    suspects = await reading.one("any_suspect") is not None
    return Seen(
        ready=await waits(Code.QUEUED),
        suspects=suspects and await waits(Code.SUSPECT),
        next_at=min(known) if known else None,
        now=reading.now,
    )
