"""What rows of jobs have in common: codes of states, flags, and what is known only of some jobs."""

from __future__ import annotations

import msgspec

from treadle.faults import Fault
from treadle.records import Attempt, Cause, JobState, NewJob, Note, Scope

__all__ = [
    "CODES",
    "FINAL_CODE",
    "OPEN_CODE",
    "STATES",
    "Code",
    "Facts",
    "Flag",
    "JobRow",
    "decode_facts",
    "decode_spec",
    "encode",
    "flags_of",
    "make_ready",
    "state_of",
]


class Code:
    """The number of a state in the store."""

    WAITING = 0
    SCHEDULED = 1
    QUEUED = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELLED = 6
    # Queued, but only for a session that holds nothing.
    SUSPECT = 7


STATES: tuple[JobState, ...] = (
    JobState.WAITING,
    JobState.SCHEDULED,
    JobState.QUEUED,
    JobState.RUNNING,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.QUEUED,
)
"""The state by its code; written out, because files hold the codes whatever the enum becomes."""

CODES: dict[JobState, tuple[int, ...]] = {
    state: tuple(code for code, other in enumerate(STATES) if other is state) for state in JobState
}
"""The codes of a state."""

FINAL_CODE = frozenset({Code.SUCCEEDED, Code.FAILED, Code.CANCELLED})
OPEN_CODE = tuple(code for code in range(len(STATES)) if code not in FINAL_CODE)


class Flag:
    """Bits of ``job.flags``."""

    KEYED = 1
    ASKS = 2
    ORDERED = 4
    ONCE = 8
    UNIQUE_DONE = 16
    UNIQUE_START = 32
    FACTS = 64
    STARTED = 256
    CANCEL = 512
    PAID = 1024
    SUSPECT = 2048
    AWAITED = 4096
    HOLDS = 8192

    # A claim must look closer.
    AT_CLAIM = KEYED | ASKS | ORDERED | UNIQUE_START
    # A success must do more than to write the result.
    AT_END = KEYED | UNIQUE_DONE | UNIQUE_START | FACTS | AWAITED | HOLDS
    # Of one attempt.
    ATTEMPT = STARTED | CANCEL | PAID | SUSPECT


class JobRow(msgspec.Struct, gc=False):
    """A job without what was pushed, in the order in which statements name the columns."""

    seq: int
    id: str
    state: int
    queue: str
    rank: int
    flags: int
    fence: int = 0
    nonce: int | None = None
    tries: int = 0
    crashes: int = 0
    version: int = 0
    created: float = 0.0
    due: float | None = None
    expires: float | None = None
    started: float | None = None
    finished: float | None = None
    until: float | None = None
    keep_until: float | None = None
    keep: float | None = None
    ended_fence: int | None = None
    ended_nonce: int | None = None
    holder: str | None = None
    line: str | None = None
    line_rank: int | None = None
    line_units: int | None = None
    key: str | None = None
    flow: str | None = None
    failed_task: str | None = None

    @property
    def attempt(self) -> int:
        """Number of the present or next attempt."""
        return self.tries + self.crashes + 1


class Facts(msgspec.Struct, array_like=True):
    """What is true of few jobs."""

    # Of a release.
    reason: str = ""
    releases: int = 0
    aside_since: float | None = None
    note: Note | None = None
    skipped: str | None = None
    cause: Cause | None = None
    fault: Fault | None = None
    attempts: tuple[Attempt, ...] = ()
    # The holder of the unique key whose place it took.
    replaced: str | None = None


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_spec = msgspec.msgpack.Decoder(NewJob).decode
decode_facts = msgspec.msgpack.Decoder(Facts).decode


def flags_of(spec: NewJob) -> int:
    """The flags of a new job."""
    flags = 0
    if spec.key is not None:
        flags |= Flag.KEYED
        if spec.ordered:
            flags |= Flag.ORDERED
    if spec.asks:
        flags |= Flag.ASKS
    if spec.at_most_once:
        flags |= Flag.ONCE
    if spec.unique is not None:
        if spec.unique.scope is Scope.UNTIL_DONE:
            flags |= Flag.UNIQUE_DONE
        elif spec.unique.scope is Scope.UNTIL_STARTED:
            flags |= Flag.UNIQUE_START
    return flags


def state_of(code: int) -> JobState:
    """The state of a code."""
    return STATES[code]


def make_ready(row: JobRow) -> None:
    """Set the state of a job that can be claimed from now on."""
    row.state = Code.SUSPECT if row.flags & Flag.SUSPECT else Code.QUEUED
    row.line = row.line_rank = row.line_units = None
