"""A process whose calls to the system are looked at: ``python -m tests.faults.power_child URL``.

It says what it has been answered, so that this can be compared with what was on the disk by then.
"""

from __future__ import annotations

import asyncio
import os
import sys

from tests.backends.sqlite_support import claim, finish, job, session
from treadle.backends.sqlite import connect
from treadle.ports import Cancel, Query, Write


def say(text: str) -> None:
    """One call to the system per word."""
    os.write(1, text.encode() + b"\n")


async def main(url: str) -> None:
    """One of each verb that writes."""
    backend = connect(url)
    await backend.open()
    who = await session(backend)
    say("opened")
    first, second, once = job(queue="a"), job(queue="b"), job(queue="c", at_most_once=True)
    await backend.push([first])
    say("pushed")
    leases = await claim(backend, who, 1)
    say("claimed")
    await backend.extend(who, [], 30.0)
    say("extended")
    await finish(backend, leases)
    say("settled")
    await backend.push([once])
    say("pushed")
    leases = await claim(backend, who, 2)
    say("claimed-once")
    await finish(backend, leases)
    say("settled")
    await backend.push([second])
    say("pushed")
    await backend.alter(Query(ids=(second.id,)), Cancel())
    say("altered")
    await backend.write([Write(key="x", value=b"y")])
    say("written")
    await backend.aclose()
    backend.close()
    say("closed")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
