"""Many tenants on one queue: fair turns, one job at a time per account, a rate for all.

One tenant enqueues a hundred jobs first; the other two are served all the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from treadle import Rate, Treadle

app = Treadle("memory://")
finished: list[str] = []
busy: Counter[str] = Counter()


@app.task(key="account:{account}", limits=[Rate(500, per="1s", key="mail-api")], retry=3)
async def send(tenant: str, account: str) -> None:
    """At most one job of an account runs at a time, wherever the foremen are."""
    busy[account] += 1
    assert busy[account] == 1, f"{account} runs twice"
    await asyncio.sleep(0)
    busy[account] -= 1
    finished.append(tenant)


async def main() -> None:
    """A hundred jobs of a big tenant, five of each small one."""
    async with app:
        big = send.options(queue="mail.big")
        await big.aenqueue_many([("big", f"big-{n % 10}") for n in range(100)])
        for tenant in ("ada", "bob"):
            small = send.options(queue=f"mail.{tenant}")
            await small.aenqueue_many([(tenant, f"{tenant}-{n}") for n in range(5)])

        async with app.foreman(queues=["mail"], concurrency=6, burst=True) as foreman:
            await foreman.join()

    print(Counter(finished))
    last_small = max(finished.index(name) for name in ("ada", "bob"))
    print(f"the first jobs of the small tenants ended among the first {last_small + 1}")
    assert Counter(finished) == {"big": 100, "ada": 5, "bob": 5}
    assert last_small < 50


if __name__ == "__main__":
    asyncio.run(main())
