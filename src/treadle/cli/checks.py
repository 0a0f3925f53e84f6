"""What ``treadle doctor`` looks at. Each check gives findings; none changes anything."""

from __future__ import annotations

import math
import platform
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Any

import msgspec

from treadle.cli.stores import Store, sqlite_file
from treadle.cli.times import lasted
from treadle.durability import Durability, gives
from treadle.ports import Feature, Query, QueueRule, Vacancy, surveying
from treadle.queuenames import Matcher
from treadle.records import JobRecord, JobState, SessionInfo
from treadle.version import __version__
from treadle.why import foremen, rules

__all__ = ["EMPTY", "Finding", "Level", "examine"]

EMPTY = "contents"
"""The check that tells of a store in which nothing was made yet."""

_TIGHT = 1 << 30  # bytes of disk that make a warning,
_FULL = 100 << 20  # and a failure
_LONG_LOG = 256 << 20
_SKEW = 2.0  # seconds between clocks that leases do not mind
_SEEN = 1000  # waiting jobs whose tasks are looked at
_ALIVE = (JobState.WAITING, JobState.SCHEDULED, JobState.QUEUED)


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report."""

    level: Level
    # A word or two: "durability".
    check: str
    says: str
    # What to do about it; empty when all is well.
    action: str = ""


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of the store."""

    url: str
    # What a printed command must repeat to reach the same store.
    suffix: str
    now: float
    facts: Mapping[str, Any]
    foremen: tuple[SessionInfo, ...]
    counts: Mapping[str, Mapping[JobState, int]]
    rules: Mapping[str, QueueRule]
    # The first ones.
    waiting: tuple[JobRecord, ...]
    running: tuple[JobRecord, ...]


async def examine(store: Store, reach: Callable[[], Awaitable[object]]) -> list[Finding]:
    """All findings, in the order of the report, of a store that is not open yet.

    Args:
        store: what is looked at.
        reach: opens it, once it is known to be there.
    """
    backend = store.backend
    began = store.clock.monotonic()
    survey = surveying(backend)
    vacancy = None if survey is None else await survey()
    if vacancy is not None:
        return _of_nothing(store, vacancy, store.clock.monotonic() - began)
    await reach()
    began = store.clock.monotonic()
    facts = await backend.probe()
    took = store.clock.monotonic() - began
    page = await backend.find(Query(limit=1, counts=True))
    if Feature.RECORDS not in backend.features:
        return await _of_a_broker(store, facts, page.counts, took)
    # One that a foreman does not know is set aside for a while: scheduled, and queued again.
    states = (JobState.QUEUED, JobState.SCHEDULED)
    waiting = await backend.find(Query(states=states, limit=_SEEN, oldest_first=True))
    running = await backend.find(Query(states=(JobState.RUNNING,), limit=_SEEN))
    seen = _Seen(
        url=store.url,
        suffix=store.suffix,
        now=store.clock.now(),
        facts=facts,
        foremen=await foremen(backend, store.clock),
        counts=page.counts,
        rules=await rules(backend, ("*",)),
        waiting=waiting.records,
        running=running.records,
    )
    found = [_ok("store", f"{backend.url} answers in {lasted(took)}"), *_versions(seen)]
    for check in (_durability, _store, _disk, _log, _clocks, _foremen, _unserved, _unknown, _paused,
                  _lapsed, _failed):  # fmt: skip
        found += check(seen)
    return found


def _of_the_server(
    store: Store,
    facts: Mapping[str, Any],
    counts: Mapping[str, Mapping[JobState, int]],
    took: float,
) -> list[Finding]:
    """What can be said without records of jobs, foremen or pauses."""
    seen = _Seen(
        url=store.url,
        suffix=store.suffix,
        now=store.clock.now(),
        facts=facts,
        foremen=(),
        counts=counts,
        rules={},
        waiting=(),
        running=(),
    )
    answers = _ok("store", f"{store.backend.url} answers in {lasted(took)}")
    return [answers, *_versions(seen), *_durability(seen), *_store(seen)]


def _of_nothing(store: Store, vacancy: Vacancy, took: float) -> list[Finding]:
    """What can be said of a store in which nothing was made yet."""
    found = _of_the_server(store, vacancy.facts, {}, took)
    return [*found, _warn(EMPTY, vacancy.says, vacancy.comes)]


async def _of_a_broker(
    store: Store,
    facts: Mapping[str, Any],
    counts: Mapping[str, Mapping[JobState, int]],
    took: float,
) -> list[Finding]:
    """What can be said of a store that has no records."""
    found = _of_the_server(store, facts, counts, took)
    longest = float(facts.get("consumer_timeout", math.inf))
    for name, task in sorted(store.core.tasks.items()) if longest < math.inf else ():
        timeout = task.options.timeout
        if timeout is None or timeout >= longest:
            found.append(
                _warn(
                    "long jobs",
                    f"task {name!r} may run for {'ever' if timeout is None else lasted(timeout)}, "
                    f"and the server takes jobs back after {lasted(longest)}",
                    "give it a shorter timeout, or raise consumer_timeout in rabbitmq.conf",
                )
            )
    waiting = sum(sum(states.values()) for states in counts.values())
    return [*found, _ok("jobs", f"{waiting:,} queued in {len(counts)} queues")]


def _ok(check: str, says: str) -> Finding:
    return Finding(level=Level.OK, check=check, says=says)


def _warn(check: str, says: str, action: str) -> Finding:
    return Finding(level=Level.WARN, check=check, says=says, action=action)


def _fail(check: str, says: str, action: str) -> Finding:
    return Finding(level=Level.FAIL, check=check, says=says, action=action)


def _versions(seen: _Seen) -> Iterator[Finding]:
    names = ("schema", "sqlite", "redis", "server", "version")
    store = ", ".join(f"{name} {seen.facts[name]}" for name in names if name in seen.facts)
    python = platform.python_version()
    yield _ok(
        "versions", f"treadle {__version__}, Python {python}" + (f", {store}" if store else "")
    )
    for one in seen.foremen:
        if one.version and one.version != __version__:
            yield _warn(
                "versions",
                f"foreman {one.name} runs treadle {one.version}",
                "finish the deploy, so that all run the same version",
            )


def _durability(seen: _Seen) -> Iterator[Finding]:
    durability = seen.facts.get("durability")
    if durability is None:
        return
    lost = seen.facts.get("may_lose")
    says = f"{durability}" + (f"; may lose: {lost}" if lost else "")
    if gives(durability, Durability.FULL):
        yield _ok("durability", says)
    else:
        yield _warn(
            "durability",
            says,
            seen.facts.get("advice")
            or "if no accepted job may be lost to a power cut, use durability=full",
        )


def _store(seen: _Seen) -> Iterator[Finding]:
    """What only a store of this kind can say of itself."""
    for said in seen.facts.get("findings", ()):
        yield msgspec.convert(said, Finding)


def _disk(seen: _Seen) -> Iterator[Finding]:
    file = sqlite_file(seen.url)
    if file is None:
        return
    from treadle.backends.sqlite.disk import file_system, too_open

    if wide := too_open(str(file)):
        yield _warn(
            "rights",
            f"{'; '.join(wide[:4])}: who writes to the store chooses which tasks run, with what",
            f"chmod go= {quote(str(file))}*, or move it to a folder of its own: chmod 700",
        )
    kind = file_system(str(file))
    yield _ok(
        "file", f"{file}, {_size(seen.facts.get('bytes', 0))}" + (f", on {kind}" if kind else "")
    )
    free = shutil.disk_usage(Path(file).parent).free
    if seen.facts.get("full") or free < _FULL:
        yield _fail("disk", f"{_size(free)} free: new jobs are refused", "make room on the disk")
    elif free < _TIGHT:
        yield _warn("disk", f"{_size(free)} free", "make room before it is full")
    else:
        yield _ok("disk", f"{_size(free)} free")


def _log(seen: _Seen) -> Iterator[Finding]:
    size = seen.facts.get("log_bytes")
    if size is None:
        return
    if size > _LONG_LOG:
        yield _warn(
            "write-ahead log",
            f"{_size(size)} and not shrinking",
            "a program reads the file without end, such as an open sqlite3 shell; close it",
        )
    else:
        yield _ok("write-ahead log", _size(size))


def _clocks(seen: _Seen) -> Iterator[Finding]:
    store = seen.facts.get("now")
    if store is None:
        yield _ok("clocks", "the store goes by the clock of this machine")
    elif abs(store - seen.now) > _SKEW:
        yield _warn(
            "clocks",
            f"the clock of the store is {abs(store - seen.now):.1f} s "
            f"{'ahead of' if store > seen.now else 'behind'} this machine's",
            "let both follow a time server; due times and leases go by the store's",
        )
    else:
        yield _ok("clocks", f"{abs(store - seen.now):.1f} s between the store's and this machine's")


def _foremen(seen: _Seen) -> Iterator[Finding]:
    if not seen.foremen:
        yield _warn("foremen", "none is running", f"start one: treadle run APP{seen.suffix}")
    for one in seen.foremen:
        excluded = f" without {','.join(one.exclude)}" if one.exclude else ""
        yield _ok(
            "foremen",
            f"{one.name} (process {one.pid} on {one.host}) serves {','.join(one.queues)}"
            f"{excluded}, {one.concurrency} at a time, {len(one.tasks)} tasks",
        )


def _unserved(seen: _Seen) -> Iterator[Finding]:
    for queue, states in sorted(seen.counts.items()):
        waiting = sum(states.get(state, 0) for state in _ALIVE)
        if waiting and not _serving(seen, queue):
            yield _fail(
                "queues",
                f"{waiting:,} jobs of queue {queue!r} are served by no foreman",
                f"start one: treadle run APP -q {quote(queue)}{seen.suffix}",
            )


def _unknown(seen: _Seen) -> Iterator[Finding]:
    unknown: Counter[str] = Counter()
    for record in seen.waiting:
        serving = _serving(seen, record.spec.queue)
        if serving and not any(record.spec.task in one.tasks for one in serving):
            unknown[record.spec.task] += 1
    for task, count in sorted(unknown.items()):
        yield _fail(
            "tasks",
            f"no foreman knows the task {task!r} of {count:,} waiting jobs",
            "start a foreman with an app that has it, or cancel them: "
            f"treadle jobs cancel --task {quote(task)}{seen.suffix}",
        )


def _serving(seen: _Seen, queue: str) -> list[SessionInfo]:
    return [
        one for one in seen.foremen if Matcher(one.queues, one.exclude).place(queue) is not None
    ]


def _paused(seen: _Seen) -> Iterator[Finding]:
    for queue, rule in sorted(seen.rules.items()):
        if rule.paused and (rule.until is None or rule.until > seen.now):
            by = f" by {rule.by}" if rule.by else ""
            reason = f": {rule.reason}" if rule.reason else ""
            yield _warn(
                "queues",
                f"{queue!r} is paused{by}{reason}",
                f"treadle queues resume {quote(queue)}{seen.suffix}",
            )


def _lapsed(seen: _Seen) -> Iterator[Finding]:
    lapsed = [one for one in seen.running if one.lease_until and one.lease_until < seen.now]
    if lapsed:
        yield _warn(
            "leases",
            f"{len(lapsed):,} running jobs have not been heard of for longer than their lease",
            "the next claim takes them back; start a foreman if none is running",
        )


def _failed(seen: _Seen) -> Iterator[Finding]:
    failed = sum(states.get(JobState.FAILED, 0) for states in seen.counts.values())
    total = sum(sum(states.values()) for states in seen.counts.values())
    if failed:
        yield _warn(
            "jobs",
            f"{failed:,} of {total:,} failed",
            f"look: treadle jobs list --state failed{seen.suffix}",
        )
    else:
        yield _ok("jobs", f"{total:,}, none failed")


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
