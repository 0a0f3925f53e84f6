"""What holds in every store after every step, whatever another store would have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from treadle.records import FINAL, Hold, JobRecord, JobState, NewJob, Pushed, PushStatus, Scope
from treadle.testing.model import told
from treadle.testing.model.told import Handle

__all__ = ["Ledger"]

_MADE = frozenset({PushStatus.CREATED, PushStatus.REPLACED})
_REMEMBERED = 600.0
"""Seconds for which a tombstone stands."""


class Ledger:
    """Keeps account of what a store was told and said, and checks what it shows against that."""

    def __init__(self) -> None:
        self.seen: dict[str, JobRecord] = {}
        # Jobs that are there, or left a tombstone; with the instant at which they were last there.
        self._known: dict[str, float] = {}
        self._fresh: set[Handle] = set()
        self._ever: set[Handle] = set()
        self._won: set[Handle] = set()
        self._retried: set[str] = set()
        self._slots: dict[str, int] = {}
        # Until when a session is present at the least; 0 when it is closed.
        self._present: dict[str, float] = {}
        # Units of limits that permits hold, until when.
        self._permits: dict[str, tuple[Counter[str], float]] = {}

    # ------------------------------------------------------------ what happened

    def pushed(self, jobs: Sequence[NewJob], answers: Sequence[Pushed], now: float) -> None:
        """Jobs were pushed."""
        assert len(jobs) == len(answers), "one answer for each job"
        for job, answer in zip(jobs, answers, strict=True):
            if answer.status in _MADE:
                self._known[job.id] = now
                if job.key is not None:
                    self._slots[job.key] = job.key_slots

    def granted(self, leases: Iterable[Handle]) -> None:
        """Leases were granted."""
        self._fresh = set(leases)
        again = {one for one in self._fresh & self._ever if one[0] in self.seen}
        assert not again, f"granted twice: {again}"
        self._ever |= self._fresh

    def won(self, lease: Handle) -> None:
        """A settlement was carried out."""
        assert lease not in self._won or lease[0] not in self.seen, f"settled twice: {lease}"
        self._won.add(lease)

    def retried(self, ids: Iterable[str]) -> None:
        """Jobs were told to start over."""
        self._retried |= set(ids)

    def permitted(self, name: str, holds: Iterable[Hold], until: float) -> None:
        """A permit was granted."""
        self._permits[name] = _units(holds), until

    def prolonged(self, name: str, until: float) -> None:
        """A permit was renewed."""
        self._permits[name] = self._permits[name][0], until

    def released(self, name: str) -> None:
        """A permit was given back."""
        self._permits.pop(name, None)

    def present(self, who: str, until: float) -> None:
        """A session was opened or renewed; a claim may renew it or not."""
        self._present[who] = max(until, self._present.get(who, until))

    def closed(self, who: str) -> None:
        """A session was closed."""
        self._present[who] = 0.0

    # ------------------------------------------------------------ what is there

    def missing(self, records: Sequence[JobRecord], now: float) -> list[str]:
        """Jobs that are not there and must have left a tombstone."""
        there = {one.id for one in records}
        self._known = {
            job_id: now if job_id in there else at
            for job_id, at in self._known.items()
            if job_id in there or now - at < _REMEMBERED
        }
        return [job_id for job_id in self._known if job_id not in there]

    def look(
        self,
        records: Sequence[JobRecord],
        lost: Collection[str],
        now: float,
    ) -> None:
        """Check all jobs of the store, by arrival; ``lost`` left not even a tombstone."""
        ids = [one.id for one in records]
        assert len(set(ids)) == len(ids), "a job is there twice"
        seqs = [one.seq for one in records]
        assert seqs == sorted(set(seqs)), "jobs are not told by arrival"
        assert not lost, f"{lost} left nothing"
        for one in records:
            _check_state(one, now)
            self._check_change(one)
        _check_unique(records)
        self._check_keys(records)
        self._check_slots(records, now)
        self.seen = {one.id: one for one in records}
        self._fresh = set()
        self._retried = set()

    def look_at_sessions(self, there: Mapping[str, float], now: float) -> None:
        """Check the sessions that are shown as present."""
        for who, until in self._present.items():
            assert until <= now or there.get(who, 0.0) >= until, f"{who} is present and not shown"
            assert until or who not in there, f"{who} was closed and is shown"
        assert min(there.values(), default=now + 1) > now, "a session has lapsed and is shown"

    def _check_change(self, one: JobRecord) -> None:
        before = self.seen.get(one.id)
        if before is None or before.created != one.created:
            return
        assert one.fence >= before.fence, f"the fence of {one.id} went back"
        changed = told.differences(
            msgspec.structs.replace(before, lease_until=one.lease_until), one
        )
        assert one == before or one.version > before.version or not changed, (
            f"{one.id} changed without a new version: {changed}"
        )
        assert one.version >= before.version, f"the version of {one.id} went back"
        if before.state in FINAL and one.id not in self._retried:
            assert (one.state, one.result) == (before.state, before.result), f"{one.id} ended twice"

    def _check_keys(self, records: Sequence[JobRecord]) -> None:
        """Nothing was granted beyond the slots of its key, or before those that it follows."""
        running = Counter(one.spec.key for one in records if one.state is JobState.RUNNING)
        for one in records:
            key = one.spec.key
            # In the same breath it may have ended, and with it what others waited for.
            fresh = one.state is JobState.RUNNING and (one.id, one.fence) in self._fresh
            if key is None or not fresh:
                continue
            assert running[key] <= self._slots[key], f"{one.id} runs beyond the slots of its key"
            if one.spec.ordered:
                ahead = [
                    other.id for other in records if other.seq < one.seq and _blocks(other, key)
                ]
                assert not ahead, f"{one.id} overtook {ahead}"

    def _check_slots(self, records: Sequence[JobRecord], now: float) -> None:
        held: Counter[str] = Counter()
        slots: dict[str, int] = {}
        for one in records:
            holds = [ask for ask in one.spec.asks if isinstance(ask, Hold)]
            slots |= {hold.key: hold.slots for hold in holds}
            if one.state is JobState.RUNNING:
                held += _units(holds)
        for units, until in self._permits.values():
            if until > now:
                held += units
        for key, number in slots.items():
            assert held[key] <= number, f"{held[key]} of {number} units of {key} are taken"


def _units(holds: Iterable[Hold]) -> Counter[str]:
    """Units by limit; who asks for more of one than there is gets the whole."""
    units: Counter[str] = Counter()
    for hold in holds:
        units[hold.key] = min(units[hold.key] + hold.units, hold.slots)
    return units


def _blocks(one: JobRecord, key: str) -> bool:
    if one.spec.key != key:
        return False
    if one.state is JobState.SCHEDULED:
        return one.tries > 0
    return one.state in (JobState.QUEUED, JobState.RUNNING) or one.reason == f"key:{key}"


def _check_state(one: JobRecord, now: float) -> None:
    """A record does not contradict itself, and time has moved on for it."""
    state = one.state
    running = state is JobState.RUNNING
    assert (one.lease_until is not None) == running, f"{one.id} is {state}, its lease is not"
    assert one.lease_until is None or one.lease_until > now, f"the lease of {one.id} has lapsed"
    assert (one.finished is not None) == (state in FINAL), f"{one.id} is {state}, its end is not"
    assert (one.cause is not None) == (state is JobState.FAILED), (
        f"{one.id} is {state}: {one.cause}"
    )
    if state is JobState.SCHEDULED:
        assert (one.due or 0.0) > now, f"{one.id} is due"
    if state is JobState.WAITING:
        assert one.reason, f"{one.id} waits for nothing"
    if state not in FINAL and not running:
        assert one.expires is None or one.expires > now, f"{one.id} has expired"
    assert not one.cancel_asked or running, f"{one.id} is asked to stop and does not run"


def _check_unique(records: Sequence[JobRecord]) -> None:
    holders: Counter[str] = Counter()
    for one in records:
        unique = one.spec.unique
        if unique is not None and unique.scope is Scope.UNTIL_DONE and one.state not in FINAL:
            holders[unique.key] += 1
    assert all(number == 1 for number in holders.values()), f"unique keys are shared: {holders}"
