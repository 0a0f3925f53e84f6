"""What runs in an actor, without a cluster: in a process of its own, which it takes over."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, os
from treadle.pools.noticing import stopping
from treadle.pools.places.process.parcel import pack
from treadle.pools.places.ray.host import Host, Order
from treadle.pools.places.ray.journal import ERROR, LEFT, SKIPPED, VALUE
from treadle.pools.resident import Plan
from treadle.pools.submission import Kind

NAMES = {VALUE: "value", ERROR: "error", LEFT: "left", SKIPPED: "skipped"}
here, there = os.pipe()

def watch():
    os.write(there, b".")
    while not stopping():
        pass
    return "noticed"

def fail():
    os.write(there, b".")
    while not stopping():
        pass
    raise OSError("noticed")

host = Host("watcher", pack(Plan(), "the plan").body, (), logging.WARNING)
known = 0

def ended():
    global known
    [report] = host.collect(known)
    known += 1
    return NAMES[report.tag], bool(report.body)

for number, code in enumerate((watch, fail, watch), 1):
    body = pack((int(Kind.FUNCTION), code, (), {}), code.__name__).body
    host.deliver(number - 1, [Order(number, False, code.__name__, body, ())])
    os.read(here, 1)
    if number == 3:
        host.deliver(3, [Order(4, False, "watch", body, ())])
        print(host.interrupt(4, b"", []), *ended())
    print(host.interrupt(number, b"", []), *ended())
    print(host.interrupt(number, b"", []))

host.deliver(4, [Order(5, False, "watch", body, ()), Order(6, False, "watch", body, ())])
os.read(here, 1)
print(host.interrupt(5, b"", [6, 7]))
host.deliver(5, [Order(7, False, "watch", body, ())])
found = {}
while len(found) < 3:
    reports = host.collect(known)
    known += len(reports)
    found |= {one.number: NAMES[one.tag] for one in reports}
print(sorted(found.items()))
"""


def test_an_end_that_came_after_the_wish_to_end_does_not_contradict_it() -> None:
    """The answer to the wish and the report of the end may overtake each other on their way."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.splitlines() == [
        "plain left False",
        "over",
        "plain left False",
        "over",
        "waits skipped False",
        "plain left False",
        "over",
        # Those that were given before it and after it, too.
        "plain",
        "[(5, 'left'), (6, 'skipped'), (7, 'skipped')]",
    ], ran.stderr
