"""What ``treadle doctor`` says of an app with several backends: of one after another."""

from __future__ import annotations

from functools import partial

import msgspec

from treadle.cli.checks import EMPTY, Finding, Level, examine
from treadle.cli.statuses import status_of
from treadle.cli.stores import Store
from treadle.config import mask
from treadle.errors import TreadleError
from treadle.ports import Backend, Query, Routed
from treadle.records import FINAL

__all__ = ["examine_all"]


async def examine_all(store: Store) -> tuple[list[Finding], int]:
    """The findings of all backends, and the exit status of what could not be reached."""
    several = store.core.store.several
    if several is None:
        return await examine(store, store.core.ready), 0
    found: list[Finding] = []
    status = 0
    for name, part in several.parts.items():
        try:
            one = msgspec.structs.replace(store, backend=part, name=name)
            some = await examine(one, partial(several.reach, name))
            if all(one.check != EMPTY for one in some):
                some += await _misrouted(several, name, part)
        except TreadleError as error:
            status = status or status_of(error)
            text = str(error)
            says = mask(text if mask(part.url) in text else f"{part.url}: {text}")
            some = [Finding(level=Level.FAIL, check="store", says=says)]
        found += [msgspec.structs.replace(one, check=f"{name}: {one.check}") for one in some]
    return found, status


async def _misrouted(several: Routed, name: str, backend: Backend) -> list[Finding]:
    """Jobs of queues that are routed to another backend since they were enqueued."""
    page = await backend.find(Query(limit=1, counts=True))
    found: list[Finding] = []
    for queue, states in sorted(page.counts.items()):
        left = sum(number for state, number in states.items() if state not in FINAL)
        to = several.route(queue)
        if left and to != name:
            found.append(
                Finding(
                    level=Level.FAIL,
                    check="routes",
                    says=f"{left:,} jobs of queue {queue!r} are here, and it is routed to {to!r}",
                    action="run a foreman of this backend alone until they have ended: "
                    f"treadle run APP --url URL -q {queue}",
                )
            )
    return found
