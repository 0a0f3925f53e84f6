"""What all rules of the machine share: the sides, how they are asked, and what must hold."""

from __future__ import annotations

import asyncio
import itertools
import random  # noqa: TID251 - a history is seeded
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, invariant

from treadle.backends import open as open_backend
from treadle.ids import SystemIds
from treadle.ports import QUEUE_CELL, Backend, Query, Write
from treadle.records import FINAL, After, JobRecord, NewJob
from treadle.testing.clock import ManualClock
from treadle.testing.model import told
from treadle.testing.model.draws import QUEUES, Fields
from treadle.testing.model.ledger import Ledger
from treadle.testing.model.side import Check, End, Make, Setup, Side
from treadle.testing.model.told import Handle
from treadle.verdicts import Done

__all__ = ["PRESENCE", "Stage"]

PRESENCE = 30.0
"""Seconds for which a session is present at the least when it was opened."""
_ROUNDS = 300
"""Claims within which all that can be served is served."""


def _memory(setup: Setup) -> Backend:
    kept = "" if setup.max_failed is None else f"?max_failed={setup.max_failed}"
    return open_backend(f"memory://{kept}", clock=setup.clock, ids=setup.ids)


class Stage(RuleBasedStateMachine):
    """The backend under test, the store in memory beside it, and the time of both."""

    make: ClassVar[Make]
    # They look into the backend after each step.
    insides: ClassVar[tuple[Check, ...]] = ()
    # Keys and slots too. Who of a line competes first is the store's own affair, so that there
    # is no other store to compare with.
    lines: ClassVar[bool] = False
    # Of the stores; the oldest beyond it go.
    max_failed: ClassVar[int | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="treadle-model-"))
        self.clock = ManualClock()
        self.loop = asyncio.Runner()
        makes = [type(self).make] if self.lines else [type(self).make, _memory]
        self.sides: list[Side] = []
        for index, make in enumerate(makes):
            folder = self.folder / str(index)
            folder.mkdir()
            ids = SystemIds(self.clock, random.Random(0))
            setup = Setup(folder=folder, clock=self.clock, ids=ids, max_failed=self.max_failed)
            self.sides.append(Side(make, setup, self.loop))
        self.ledger = Ledger()
        self.numbers = itertools.count(1)
        self.pushed = 0
        # Names of those that are open, and the last request of each.
        self.requests: dict[str, int] = {}
        self.leases: list[Handle] = []
        self.permits: list[str] = []
        self.tickets: list[str] = []
        # A verb shall be the first to see what time has done.
        self.unseen = False
        self.sound = True
        self.crowded = False

    def ask(self, verb: str, *args: Any, **fields: Any) -> Any:
        """What all sides answer, which is the same; told with the history."""
        answer = self.see(verb, *args, **fields)
        said = [
            *map(told.text, args),
            *(f"{name}={told.text(one)}" for name, one in fields.items()),
        ]
        note(f"    {verb}({', '.join(said)}) -> {told.text(answer)}")
        return answer

    def see(self, verb: str, *args: Any, **fields: Any) -> Any:
        """What all sides answer, which is the same."""
        self.sound = False
        answers = [side.ask(verb, *args, **fields) for side in self.sides]
        for other in answers[1:]:
            assert answers[0] == other, (
                f"{verb}{args}: {told.differences(answers[0], other)} by the backend and by memory"
            )
        self.sound = True
        return answers[0]

    # ------------------------------------------------------------ what must hold

    @invariant()
    def compare(self) -> None:
        """All that can be seen is the same on all sides, and sound in itself."""
        if self.unseen:
            self.unseen = False
            return
        self.see("cells", ["cell:*", f"{QUEUE_CELL}*"])
        self.sound = False
        records, numbers = self.sides[0].ask("everything")
        there = [told.record(one) for one in records], numbers
        for side in self.sides[1:]:
            others, numbers = side.ask("everything")
            other = [told.record(one) for one in others], numbers
            assert there == other, (
                f"{told.differences(there, other)} are there by the backend and by memory"
            )
        self.check(records)

    def check(self, records: Sequence[JobRecord]) -> None:
        """What needs no other store to compare with; these are all jobs of the first."""
        now = self.clock.now()
        missing = self.ledger.missing(records, now)
        gone: set[str] = set()
        if missing:
            gone = set(self.see("find", Query(ids=tuple(missing)))[1])
        self.sound = False
        self.ledger.look(records, set(missing) - gone, now)
        for side in self.sides:
            self.ledger.look_at_sessions(side.ask("present"), now)
        for insides in self.insides:
            self.sides[0].check(insides)
        self.sound = True

    # ------------------------------------------------------------ helpers of the rules

    def job(self, fields: Fields) -> NewJob:
        """A new job; what it waits for is told by how far back that was pushed."""
        after = fields.get("after")
        if after is not None:
            number = self.pushed + 1
            ids = tuple(dict.fromkeys(_dependency(number, back) for back in after.ids))
            fields = {**fields, "after": After(ids=ids, on_failure=after.on_failure)}
        return self.next_job(fields)

    def next_job(self, fields: Fields) -> NewJob:
        """A new job of exactly these fields."""
        self.pushed += 1
        return NewJob(id=f"j{self.pushed}", payload=b"", **fields)

    def claim(self, who: str, *, again: bool = False, **fields: Any) -> list[Handle]:
        """Claim with the next request number of a session; the leases."""
        self.requests[who] += 1
        request = self.requests[who]
        answer = self.ask("claim", who, request, **fields)
        if isinstance(answer, str):
            return []
        leases = [told.handle(lease) for lease in answer[0]]
        assert len(leases) <= fields["limit"], "more was granted than asked for"
        self.ledger.granted(leases)
        if again:
            assert self.ask("claim", who, request, **fields) == answer, "a repeat is another"
        self.leases += leases
        return leases

    # ------------------------------------------------------------ the end

    def teardown(self) -> None:
        """Serve everything, if nothing went wrong so far, and close."""
        try:
            if self.sound:
                self.drain()
        finally:
            for side in self.sides:
                side.close()
            self.loop.close()
            shutil.rmtree(self.folder)

    def drain(self) -> None:
        """Resume and serve until nothing is left; nothing is leased or held then."""
        self.ask("write", [Write(key=f"{QUEUE_CELL}{name}", value=None) for name in QUEUES])
        for name in self.permits:
            self.ask("release", name)
            self.ledger.released(name)
        for name in self.tickets:
            self.ask("leave_line", name)
        self.requests["last"] = 0
        self.ask("open_session", "last")
        self.ledger.present("last", self.clock.now() + PRESENCE)
        for _ in range(_ROUNDS):
            leases = self.claim("last", limit=10, lease=30.0)
            if leases:
                ends = [End(lease=one, verdict=Done()) for one in leases]
                assert set(self.ask("settle", ends)) == {"ok"}, "a fresh lease was refused"
            self.compare()
            if all(one.state in FINAL for one in self.ledger.seen.values()):
                break
            self.clock.advance(1.0)
        left = [one for one in self.ledger.seen.values() if one.state not in FINAL]
        assert not left, f"never served: {left}"
        assert self.claim("last", limit=10, lease=30.0) == [], "something is left to claim"
        # Which verb moves a job on is a store's own affair; who is told in the end is not.
        told_of, *others = (Counter(map(told.text, side.fates)) for side in self.sides)
        for other in others:
            assert told_of == other, (
                f"the backend told of {told_of - other}, memory of {other - told_of}"
            )


def _dependency(number: int, back: str) -> str:
    if back == "nobody":
        return back
    # Even ones may wait for the next; then odd ones must not wait for the one before.
    distance = max(2, int(back)) if number % 2 else int(back)
    return f"j{number - distance}"
