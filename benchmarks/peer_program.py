"""The peer's side of each part, run in its own environment: ``peer_program.py '{"part": …}'``.

Its best configuration: one worker thread (more are slower), polls of 1 ms instead of 100 ms, no
scheduler for periodic tasks. Results are kept, as ours are. It delivers at most once: a job is
removed from the queue before it runs.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from huey import MemoryHuey, SqliteHuey

ASKED = json.loads(sys.argv[1])
_POLL = 0.001

if ASKED["file"] is None:
    huey = MemoryHuey("bench")
else:
    huey = SqliteHuey("bench", filename=ASKED["file"], fsync=ASKED["fsync"])
_stamps = os.open(ASKED["stamps"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@huey.task(retries=3)
def stamp(number: int, text: str = "x") -> int:
    os.write(_stamps, struct.pack("d", time.perf_counter()))
    return number + 1


@huey.task(retries=3)
def carry(data: bytes) -> bytes:
    os.write(_stamps, struct.pack("d", time.perf_counter()))
    return data


@huey.task(retries=3)
def when() -> float:
    return time.perf_counter()


@huey.task(retries=3)
def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _consumer(workers: int = 1, kind: str = "thread"):
    return huey.create_consumer(
        workers=workers,
        worker_type=kind,
        periodic=False,
        initial_delay=_POLL,
        max_delay=_POLL,
        check_worker_health=False,
    )


def _drained(count: int, workers: int = 1, kind: str = "thread") -> float:
    """Jobs a second, from the first to the last time stamp."""
    path = Path(ASKED["stamps"])
    consumer = _consumer(workers, kind)
    consumer.start()
    while path.stat().st_size < count * 8:
        time.sleep(0.02)
    consumer.stop(graceful=True)
    times = sorted(one for (one,) in struct.iter_unpack("d", path.read_bytes()))
    return (len(times) - 1) / (times[-1] - times[0])


def enqueue() -> float:
    began = time.perf_counter()
    if ASKED["bulk"]:
        stamp.map([(number,) for number in range(ASKED["count"])])
    else:
        for number in range(ASKED["count"]):
            stamp(number)
    return ASKED["count"] / (time.perf_counter() - began)


def drain() -> float:
    for number in range(ASKED["count"]):
        stamp(number)
    return _drained(ASKED["count"], ASKED.get("workers", 1), ASKED.get("kind", "thread"))


def payload() -> list[float]:
    data = os.urandom(ASKED["size"])
    began = time.perf_counter()
    for _ in range(ASKED["count"]):
        carry(data)
    took = time.perf_counter() - began
    return [ASKED["count"] / took, _drained(ASKED["count"])]


def trip() -> list[list[float]]:
    """Milliseconds from the call to the start, and from the call to the result."""
    consumer = None
    other = None
    if ASKED["file"] is None:
        consumer = _consumer()
        consumer.start()
    else:
        served = json.dumps({**ASKED, "part": "serve"})
        other = subprocess.Popen([sys.executable, __file__, served], stdout=subprocess.DEVNULL)
    starts, ends = [], []
    when()(blocking=True, timeout=30)
    for _ in range(ASKED["count"]):
        began = time.perf_counter()
        started = when()(blocking=True, timeout=30, max_delay=_POLL)
        ends.append((time.perf_counter() - began) * 1000)
        starts.append((started - began) * 1000)
    if consumer is not None:
        consumer.stop(graceful=True)
    if other is not None:
        other.terminate()
        other.wait()
    return [starts, ends]


def serve() -> None:
    _consumer().run()


def memory() -> int:
    """Bytes of a consumer that has run some jobs."""
    results = [stamp(number) for number in range(ASKED["count"])]
    served = json.dumps({**ASKED, "part": "serve"})
    other = subprocess.Popen([sys.executable, __file__, served], stdout=subprocess.DEVNULL)
    results[-1](blocking=True, timeout=300)
    found = resident()(blocking=True, timeout=30)
    other.terminate()
    other.wait()
    return found


if __name__ == "__main__":
    found = globals()[ASKED["part"]]()
    print(json.dumps(found))
