"""The peers that work over a server, with their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peer import Peer

__all__ = ["POSTGRES", "RABBITMQ", "REDIS"]

_ASK = Path(__file__).parent / "peers" / "ask.py"


def _peer(name: str, requirements: str, promise: str, **more: Any) -> Peer:
    return Peer(name, requirements.split(), _ASK, words=[f"with_{name}"], promise=promise, **more)


REDIS = (
    _peer(
        "taskiq", "taskiq==0.13.0 taskiq-redis==1.2.4 redis==8.1.0",
        "a stream, acknowledged when the result is stored, so at least once; "
        "100 jobs at a time; who waits for a result looks every 200 ms",
    ),
    _peer(
        "saq", "saq==0.26.4 redis==7.4.1 typing_extensions==4.16.0",
        "moved to an active list and swept, one attempt, so at most once; 10 jobs at a time; "
        "results for ten minutes",
    ),
    _peer(
        "arq", "arq==0.28.0 redis==5.3.1 hiredis==3.5.0",
        "in the queue until it has ended, so at least once; 10 jobs at a time; "
        "worker and waiting client look every 500 ms; results for an hour",
    ),
    _peer(
        "dramatiq", "dramatiq==2.2.1 redis==8.1.0",
        "acknowledged after it has run, so at least once; 8 threads; "
        "results, which are not the default, for ten minutes",
    ),
    _peer(
        "huey", "huey==3.5.4 redis==8.1.0",
        "removed before it runs, so at most once; 1 thread; results until they are read",
    ),
    _peer(
        "repid", "repid==2.1.4 redis==7.4.1 typing_extensions==4.16.0",
        "a stream, acknowledged after it has run; what a dead worker held is not taken back; "
        "1,000 jobs at a time; it has no results",
    ),
    _peer(
        "ardiq", "ardiq==1.2.0",
        "its core is compiled; a stream, acknowledged after it has run, so at least once; 16 jobs "
        "at a time; results for five minutes",
        least=(3, 12),
    ),
)  # fmt: skip
POSTGRES = (
    _peer(
        "procrastinate", "procrastinate==3.10.0 psycopg[binary]==3.3.9 psycopg-pool==3.3.3",
        "each step is a commit that has reached the disk; what a dead worker held stays so until "
        "the user asks for it; 1 job at a time; it keeps the row of the job and has no results",
    ),
    _peer(
        "pgqueuer", "pgqueuer==1.6.0 asyncpg==0.32.0 uvloop==0.23.0 typer==0.20.0",
        "logged tables, commits that have reached the disk, heartbeats, so at least once; "
        "10 jobs in a batch; a row of a log says how a job ended, which can be waited for; "
        "no results",
    ),
)  # fmt: skip
RABBITMQ = (
    _peer(
        "dramatiq", "dramatiq==2.2.1 pika==1.4.4",
        "persistent messages on a durable classic queue, acknowledged after the job has run, so "
        "at least once; enqueue returns before the server has the message "
        "(confirm_delivery is off); 8 threads; no results",
    ),
)  # fmt: skip
