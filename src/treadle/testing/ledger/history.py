"""All ledgers of a run, read and sorted by job."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from treadle.testing.ledger.book import SUFFIX
from treadle.testing.ledger.entries import (
    Accepted,
    Answered,
    Blow,
    Effect,
    Entry,
    Fated,
    Fault,
    Granted,
    Passed,
    Retried,
    Said,
    Sent,
    Started,
    Tried,
    Waited,
    decode,
)

__all__ = ["FINAL_VERDICTS", "FORGETS", "Grant", "History", "Process", "Reason", "Story"]

FINAL_VERDICTS = frozenset({"done", "failed", "cancelled"})
FORGETS = 1.0
"""Seconds after which a grant has reached the disk of a store that does not wait for that."""
_TAKEN = frozenset({"ok", "already"})


class Reason(StrEnum):
    """Why a lease was lost."""

    KILLED = "killed"  # its process was
    FROZEN = "frozen"  # its process was
    HELD_UP = "held up"  # by a process that was frozen in the middle of a write
    SLOW = "slow"  # the store answered late, and nobody was frozen


class Grant:
    """One lease of a job, and what became of it."""

    def __init__(self, job: str, fence: int, process: str) -> None:
        self.job = job
        self.fence = fence
        self.process = process
        self.granted: list[Granted] = []
        self.starts: list[float] = []
        self.effects: list[float] = []
        self.sent: list[Sent] = []
        self.answers: list[Answered] = []

    @property
    def begin(self) -> float:
        """Since when it may have been given: when its claim was sent."""
        times = [one.asked for one in self.granted] + self.starts + self.effects
        return min(times, default=math.inf)

    @property
    def given(self) -> float:
        """By when it was given: the first that the ledger has of it."""
        times = [one.at for one in self.granted] + self.starts + self.effects
        return min(times, default=math.inf)

    @property
    def taken(self) -> Answered | None:
        """The answer that carried its verdict out."""
        return next((one for one in self.answers if one.answer in _TAKEN), None)

    @property
    def unheard(self) -> bool:
        """Whether a verdict was sent, and nobody knows its answer."""
        return len(self.sent) > len(self.answers)

    @property
    def won(self) -> bool:
        """Whether it ended the job."""
        taken = self.taken
        return taken is not None and taken.verdict in FINAL_VERDICTS

    def __str__(self) -> str:
        return f"job {self.job}, fence {self.fence}, in {self.process}"


class Story:
    """What the ledgers know of one job."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.tried = 0
        self.accepted: list[float] = []
        self.retried: list[float] = []
        # By fence and process; two processes must not share a fence, but who says they do not.
        self.grants: dict[tuple[int, str], Grant] = {}

    def grant(self, fence: int, process: str) -> Grant:
        """The lease of this fence in this process."""
        key = (fence, process)
        found = self.grants.get(key)
        if found is None:
            found = self.grants[key] = Grant(self.job, fence, process)
        return found

    def in_order(self) -> list[Grant]:
        """By fence; of those that share one, by when they were given."""
        return sorted(self.grants.values(), key=lambda grant: (grant.fence, grant.given))

    def after(self, grant: Grant) -> float:
        """By when the next lease of the job was given; ``inf`` when there was none.

        A broker alone may have the job in two messages, each with fences of its own. So a higher
        fence that was given before this one tells nothing of it.
        """
        later = (
            one.given
            for one in self.grants.values()
            if one.fence > grant.fence and one.given >= grant.begin
        )
        return min(later, default=math.inf)


class Process:
    """What happened to one process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.killed: float | None = None
        # From when until when; the end is ``inf`` as long as nobody has woken it.
        self.frozen: list[tuple[float, float]] = []
        self.waited: list[Waited] = []
        self.said: defaultdict[tuple[str, str], int] = defaultdict(int)
        # Events that it had to tell, and the job of each.
        self.fates: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.grants: list[Grant] = []

    def frozen_between(self, begin: float, end: float) -> bool:
        """Whether it stood still at any time of that span."""
        return any(start <= end and stop >= begin for start, stop in self.frozen)


class History:
    """All ledgers of a run.

    Attributes:
        slow: seconds from which on a late answer of the store is an excuse by itself.
        stories: by job.
        processes: by name.
        crashes: when a store was killed that may forget the last grants by that.
        struck: whether anything was done to anybody.
        passed: fences in the order in which each guarded resource took them.
    """

    def __init__(self) -> None:
        self.slow = math.inf
        self.stories: dict[str, Story] = {}
        self.processes: dict[str, Process] = {}
        self.crashes: list[float] = []
        self.struck = False
        self.passed: defaultdict[str, list[Passed]] = defaultdict(list)

    @classmethod
    def read(cls, directory: Path) -> History:
        """The history in the files of a directory."""
        history = cls()
        # Each file is in order but for lines of two threads at the same moment, and far too many
        # lines may be in all of them together to be sorted.
        files = sorted(directory.glob(f"*{SUFFIX}"))
        for process, entry in heapq.merge(*map(_lines, files), key=lambda line: line[1].at):
            history.add(process, entry)
        return history

    def story(self, job: str) -> Story:
        """What is known of a job."""
        found = self.stories.get(job)
        if found is None:
            found = self.stories[job] = Story(job)
        return found

    def process(self, name: str) -> Process:
        """What is known of a process."""
        found = self.processes.get(name)
        if found is None:
            found = self.processes[name] = Process(name)
        return found

    def add(self, name: str, entry: Entry) -> None:
        """Take in a line of a process. Those of one process come in the order of their times."""
        match entry:
            case Tried(job=job):
                self.story(job).tried += 1
            case Accepted(job=job, at=at):
                self.story(job).accepted.append(at)
            case Retried(job=job, at=at):
                self.story(job).retried.append(at)
            case Granted() | Started() | Effect() | Sent() | Answered():
                self._lease(name, entry)
            case Waited():
                self.process(name).waited.append(entry)
            case Fated(event=event, job=job):
                self.process(name).fates[event, job] += 1
            case Said(event=event, job=job):
                self.process(name).said[event, job] += 1
            case Passed(resource=resource):
                self.passed[resource].append(entry)
            case Fault(process=process):
                self._fault(self.process(process), entry)

    def _lease(self, name: str, entry: Granted | Started | Effect | Sent | Answered) -> None:
        grant = self.story(entry.job).grant(entry.fence, name)
        if not (grant.granted or grant.starts or grant.effects or grant.sent or grant.answers):
            self.process(name).grants.append(grant)
        match entry:
            case Granted():
                grant.granted.append(entry)
            case Started(at=at):
                grant.starts.append(at)
            case Effect(at=at):
                grant.effects.append(at)
            case Sent():
                grant.sent.append(entry)
            case Answered():
                grant.answers.append(entry)

    def _fault(self, process: Process, fault: Fault) -> None:
        self.struck = True
        if fault.blow is Blow.CRASHED:
            self.crashes.append(fault.at)
        if fault.blow is Blow.KILLED:
            process.killed = fault.at
        if fault.blow is Blow.FROZEN:
            process.frozen.append((fault.at, math.inf))
        elif process.frozen and process.frozen[-1][1] == math.inf:
            process.frozen[-1] = (process.frozen[-1][0], fault.at)

    def grants(self) -> Iterator[Grant]:
        """Every lease."""
        for story in self.stories.values():
            yield from story.grants.values()

    def forgotten(self, grant: Grant) -> bool:
        """Whether the store crashed when it had just given a lease."""
        # It is written down before it is done.
        return any(grant.begin - FORGETS <= at <= grant.given + FORGETS for at in self.crashes)

    def blamed(self, grant: Grant) -> Reason | None:
        """What was done to the process of a lease before the job was given to another.

        A verdict may have been carried out when its process is killed before it hears of it.

        A process that is frozen in the middle of a write keeps all others from the store, so a
        call that was answered late while one was frozen is an excuse, too. A call that was late
        for no such reason is one only from ``slow`` seconds on.
        """
        process = self.process(grant.process)
        begin, end = grant.begin, self.story(grant.job).after(grant)
        if process.killed is not None and (process.killed <= end or grant.unheard):
            return Reason.KILLED
        if process.frozen_between(begin, end):
            return Reason.FROZEN
        waits = [
            wait for wait in process.waited if wait.at - wait.seconds <= end and wait.at >= begin
        ]
        if any(self._anybody_frozen(wait.at - wait.seconds, wait.at) for wait in waits):
            return Reason.HELD_UP
        if any(wait.seconds >= self.slow for wait in waits):
            return Reason.SLOW
        return None

    def _anybody_frozen(self, begin: float, end: float) -> bool:
        return any(one.frozen_between(begin, end) for one in self.processes.values())


def _lines(file: Path) -> Iterator[tuple[str, Entry]]:
    name = file.name.removesuffix(SUFFIX)
    return ((name, entry) for entry in _entries(file))


def _entries(file: Path) -> Iterator[Entry]:
    # A process that is killed in the middle of a write may leave half a line at the end.
    *lines, _ = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            yield decode(line)
        except msgspec.DecodeError as error:
            raise ValueError(f"{file}, line {number}: {error}: {line!r}") from error
