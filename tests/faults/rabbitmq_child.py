"""A process that pushes or works over RabbitMQ with a companion; it may be told where to die."""

from __future__ import annotations

import asyncio
import sys

from treadle.backends.rabbitmq import connect
from treadle.ports import Claim, Settlement
from treadle.records import Lease, NewJob, SessionInfo
from treadle.verdicts import Again, Done, Verdict

__all__ = ["FOLLOW_UP", "LEASE", "main"]

LEASE = 5.0
FOLLOW_UP = "follow-up"


def _end(how: str, lease: Lease) -> Settlement:
    verdict: Verdict = Again() if how == "again" else Done()
    later = NewJob(id=f"{FOLLOW_UP} of {lease.spec.id}", task="work", payload=b"")
    return Settlement(
        token=lease.token, verdict=verdict, follow_ups=(later,) if how == "follow" else ()
    )


async def _work(url: str, namespace: str, verb: str, *ids: str) -> None:
    backend = connect(url, namespace=namespace)
    await backend.open()
    try:
        if verb == "push":
            await backend.push([NewJob(id=one, task="work", payload=b"") for one in ids])
            return
        info = SessionInfo(name="child", host="host", pid=1, queues=("*",))
        session = await backend.open_session(info)
        claimed = await backend.claim(Claim(session=session, request=1, limit=100, lease=LEASE))
        await backend.settle([_end(verb, lease) for lease in claimed.leases])
    finally:
        await backend.aclose()
        backend.close()


def main() -> None:
    """Carry out what the arguments say: URL, namespace, verb, ids."""
    asyncio.run(_work(*sys.argv[1:]))


if __name__ == "__main__":
    main()
