"""What a server says of itself, for ``treadle doctor``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.backends.rabbitmq.layout import Names
from treadle.backends.rabbitmq.link import version_of
from treadle.durability import Durability
from treadle.ports import Vacancy

__all__ = ["CONSUMER_TIMEOUT", "beside", "facts", "no_queues"]

CONSUMER_TIMEOUT = 1800
"""Seconds after which a server closes the channel of a job that still runs, unless it is told
otherwise."""
_PER_QUEUE = (3, 12)


def facts(
    server: Mapping[str, Any], counts: Mapping[str, int], dead: int, *, blocked: bool
) -> dict[str, Any]:
    """The facts, and findings about them."""
    found: dict[str, Any] = {
        "backend": "rabbitmq",
        "server": f"RabbitMQ {server.get('version')}",
        "cluster": server.get("cluster_name", ""),
        "durability": Durability.FULL,
        "jobs": sum(counts.values()),
        "queues": len(counts),
        "dead_letters": dead,
        "findings": list(_findings(server, dead, blocked=blocked)),
    }
    if version_of(server) < _PER_QUEUE:
        found["consumer_timeout"] = CONSUMER_TIMEOUT
    return found


def beside(
    url: str, server: Mapping[str, Any], messages: int | None, *, blocked: bool
) -> dict[str, Any]:
    """What is to be added to the facts of a companion.

    Args:
        url: of the server.
        server: what it says of itself.
        messages: that wait there; ``None`` where it has no queues of the namespace.
        blocked: it takes no messages.
    """
    wait = "no queues yet" if messages is None else f"{messages:,} messages wait"
    says = f"{url} answers: RabbitMQ {server.get('version')}, {wait}"
    answers = {"level": "ok", "check": "broker", "says": says, "action": ""}
    alarm = _warning(
        "alarm",
        "RabbitMQ has an alarm for memory or disk and takes no messages: foremen take their jobs "
        "from the companion",
        "make room; rabbitmqctl status shows the alarm",
    )
    return {
        "broker": f"RabbitMQ {server.get('version')}",
        "messages": messages or 0,
        "findings": [answers, *([alarm] if blocked else [])],
    }


def away(says: str) -> dict[str, Any]:
    """The same when the server cannot be reached: the companion goes on without it."""
    action = "see that it runs; foremen take their jobs from the companion meanwhile"
    return {"messages": 0, "findings": [_warning("broker", says, action)]}


def no_queues(names: Names, found: Mapping[str, Any]) -> Vacancy:
    """There is nothing of a namespace yet."""
    return Vacancy(
        says=f"there are no queues of the namespace: no {names.names!r}",
        comes="an app makes them when it first uses the store; there is nothing to install",
        facts=found,
    )


def _findings(server: Mapping[str, Any], dead: int, *, blocked: bool) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    if version_of(server) < _PER_QUEUE:
        found.append(
            _warning(
                "long jobs",
                f"this server takes a job back that runs longer than its consumer_timeout, "
                f"{CONSUMER_TIMEOUT // 60} minutes by default, with all jobs beside it",
                "keep the timeout of tasks below it, raise consumer_timeout in rabbitmq.conf, or "
                "update to RabbitMQ 3.12, which lets us set it for our queues",
            )
        )
    if blocked:
        found.append(
            {**_warning("alarm", "the server has an alarm for memory or disk: new jobs are refused",
                        "make room; rabbitmqctl status shows the alarm"), "level": "fail"}
        )  # fmt: skip
    if dead:
        found.append(
            _warning(
                "dead letters",
                f"{dead} jobs have failed",
                "look at the queue of dead letters; its messages have a header treadle-error",
            )
        )
    return found


def _warning(check: str, says: str, action: str) -> dict[str, str]:
    return {"level": "warn", "check": check, "says": says, "action": action}
