"""What the tests run in other processes: ``python -m tests.backends.sqlite_child VERB URL …``.

A child says ``ready`` when it has opened the database, waits for a line, and then does what its
verb says; what it has to tell are lines of its output.
"""

from __future__ import annotations

import asyncio
import os
import sys

from tests.backends.sqlite_support import claim, finish, job, jobs, session
from treadle.backends.sqlite import connect
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.backends.sqlite.tx import Tx
from treadle.events import Event
from treadle.ports import Claim
from treadle.records import SessionInfo, Settled


def say(text: str) -> None:
    """One line for the test."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def go() -> None:
    """Wait for the test."""
    say("ready")
    sys.stdin.readline()


async def drain(backend: SqliteBackend, limit: str) -> None:
    """Claim and settle until nothing is left, saying each id once its settling was answered."""
    who = await backend.open_session(SessionInfo(name=str(os.getpid())))
    go()
    request, more = 0, True
    while more:
        request += 1
        claimed = await backend.claim(Claim(session=who, request=request, limit=int(limit)))
        answers = await finish(backend, claimed.leases)
        assert set(answers) <= {Settled.OK}
        for lease in claimed.leases:
            say(lease.token.job_id)
        more = bool(claimed.leases)


async def push(backend: SqliteBackend, queue: str, number: str = "1") -> None:
    """Push jobs."""
    go()
    await backend.push(jobs(int(number), queue=queue))


async def end(backend: SqliteBackend, queue: str) -> None:
    """Claim and settle the jobs of a queue."""
    who = await session(backend)
    go()
    await finish(backend, await claim(backend, who, queues=(queue,)))


async def wait(backend: SqliteBackend, queue: str) -> None:
    """Wait for something to claim."""
    go()
    await backend.wait([queue], 60.0)
    say("woken")


async def publish(backend: SqliteBackend, name: str) -> None:
    """Tell an event."""
    go()
    await backend.publish([Event(name=name, at=1.0, job_id="j")])


async def hold(backend: SqliteBackend) -> None:
    """Stay inside the gate until told to go on."""
    import fcntl

    with open(backend._address.path + "-lock", "r+b", buffering=0) as lock:  # noqa: ASYNC230, PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(b"%-12d\n" % os.getpid())
        go()


async def freeze(backend: SqliteBackend) -> None:
    """Stop, as by a debugger, in the middle of a transaction; end it when continued."""
    import signal
    import threading

    def stop(tx: Tx) -> None:
        tx.run("save_turn", "frozen", "frozen")
        say("stopping")
        # To this very thread: it must not get any further.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    go()
    await backend._store.write(stop)
    say("continued")


def fork(url: str) -> None:
    """Use a backend before a fork, in the child, and after it."""
    backend = connect(url)

    def push_one() -> None:
        asyncio.run(_push(backend))

    push_one()
    child = os.fork()
    if child == 0:
        push_one()
        backend.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    push_one()
    backend.close()
    say(f"child {status}")


async def _push(backend: SqliteBackend) -> None:
    await backend.push([job()])


def hide() -> None:
    """Take away what only some systems have."""
    import socket

    sys.modules["fcntl"] = None  # type: ignore[assignment]
    if hasattr(socket, "AF_UNIX"):
        del socket.AF_UNIX


async def main(verb: str, url: str, *rest: str) -> None:
    """Run a verb over a backend."""
    if verb == "--hidden":  # after asyncio has made its own sockets
        hide()
        (verb, url), rest = (url, rest[0]), rest[1:]
    backend = connect(url)
    await backend.open()
    try:
        await VERBS[verb](backend, *rest)
    finally:
        await backend.aclose()
        backend.close()


VERBS = {
    "drain": drain,
    "push": push,
    "end": end,
    "wait": wait,
    "publish": publish,
    "hold": hold,
    "freeze": freeze,
}

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "fork":
        fork(arguments[1])
    else:
        asyncio.run(main(*arguments))
