"""dramatiq over Redis with results, or over RabbitMQ, where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dramatiq
from measuring import URL, Client, stamp

_REDIS = URL.startswith("redis")

if _REDIS:
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker: dramatiq.Broker = RedisBroker(url=URL)
    broker.add_middleware(Results(backend=RedisBackend(url=URL), store_results=True))
else:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def job(number: int, text: str) -> float | None:
    started = stamp()
    return started if _REDIS else None


class _Dramatiq(Client):
    # One process, as all others have; it would start one for each core.
    worker = ("-m", "dramatiq", "--processes", "1", "with_dramatiq")
    concurrent, bulk, results = False, True, _REDIS

    async def enqueue(self, number: int, text: str) -> Any:
        return job.send(number, text)

    async def many(self, numbers: Sequence[int], text: str) -> None:
        dramatiq.group([job.message(number, text) for number in numbers]).run()

    async def result(self, job: Any) -> None:
        job.get_result(block=True)

    async def close(self) -> None:
        broker.close()


CLIENT = _Dramatiq()
