"""The records that travel between the layers and into the stores.

All are frozen and made with keywords; a change makes a copy. Times are seconds since the
Unix epoch by the clock of the store. What a caller asks for is relative (:class:`In`) or
absolute (:class:`At`), because only the store knows its own time.

Structs that are stored are arrays: new fields go at the end and have a default, so that old
readers ignore them and new readers do without.

What exists by the thousand has ``gc=False``: it refers to data only, never back to what refers to
it, and the collector of Python need not look at it again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

import msgspec

from treadle.durations import moment
from treadle.faults import Fault
from treadle.guards import ExplainedStruct

__all__ = [
    "FINAL",
    "After",
    "Algorithm",
    "Ask",
    "At",
    "Attempt",
    "Cause",
    "Hold",
    "In",
    "JobRecord",
    "JobState",
    "Keep",
    "Lease",
    "NewJob",
    "Note",
    "OnConflict",
    "OnFailure",
    "PushStatus",
    "Pushed",
    "Renewal",
    "Scope",
    "Session",
    "SessionInfo",
    "Settled",
    "Spend",
    "StoredRetry",
    "Token",
    "Unique",
    "When",
]


class JobState(StrEnum):
    """Where a job is in its life. See ``docs/explanation/states.md``."""

    WAITING = "waiting"  # for other jobs, a key or a limit; ``reason`` says which
    SCHEDULED = "scheduled"  # for a time; a retry is scheduled with ``tries > 0``
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a job in it has ended: succeeded, failed or cancelled."""
        return self in FINAL


FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Cause(StrEnum):
    """Why a job failed, or an attempt ended."""

    ERROR = "error"  # an exception
    TIMEOUT = "timeout"  # an attempt ran longer than it may
    CRASHED = "crashed"  # its process died, or its lease lapsed, too often
    EXPIRED = "expired"  # not started in time
    RESULT = "result"  # the result cannot be encoded, or is too large
    DEPENDENCY = "dependency"  # a job it waits for did not succeed
    UNKNOWN_TASK = "unknown_task"  # no foreman knew the task within the grace
    UNDECODABLE = "undecodable"  # the stored payload cannot be read


class In(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A time relative to the moment the store carries out the request."""

    seconds: float


class At(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A point in time, in seconds since the Unix epoch."""

    timestamp: float


When = In | At


class Scope(StrEnum):
    """How long a unique key is held."""

    UNTIL_STARTED = "until_started"  # until the first claim
    UNTIL_DONE = "until_done"  # until a final state
    FOR = "for"  # for a time from the push, whatever becomes of the job


class OnConflict(StrEnum):
    """What a push does when another job holds the unique key."""

    SKIP = "skip"  # keep the holder, answer ``duplicate``
    REPLACE = "replace"  # the new job takes the holder's place
    RESCHEDULE = "reschedule"  # the holder gets the new job's due time
    ERROR = "error"  # as skip; the caller raises DuplicateJob


class Unique(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    array_like=True,
    gc=False,
    metaclass=ExplainedStruct,
):
    """At most one job per key."""

    synonyms: ClassVar[Mapping[str, str]] = {"by": "key", "name": "key", "timeout": "ttl"}

    # Already hashed or composed by the caller; one namespace for all queues.
    key: str
    scope: Scope = Scope.UNTIL_DONE
    # Seconds, for ``Scope.FOR``.
    ttl: float | None = None
    on_conflict: OnConflict = OnConflict.SKIP


class OnFailure(StrEnum):
    """What becomes of a job when one it waits for fails or is cancelled."""

    FAIL = "fail"  # it fails with cause ``dependency``
    CANCEL = "cancel"
    RUN = "run"  # it runs all the same


class After(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The jobs that must end before this one may start."""

    ids: tuple[str, ...]
    on_failure: OnFailure = OnFailure.FAIL


class Algorithm(StrEnum):
    """How a rate is counted."""

    GCRA = "gcra"  # token and leaky bucket are settings of it
    FIXED = "fixed"
    SLIDING = "sliding"


class Spend(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="spend", gc=False):
    """An ask for ``cost`` units of a rate."""

    key: str
    # ``count`` units per ``per`` seconds.
    count: float
    per: float
    cost: float = 1.0
    # Units that may be spent at once after a rest; ``None`` means ``count``. 1 spaces
    # the units evenly (leaky bucket), ``count`` allows a full bucket (token bucket).
    burst: float | None = None
    algorithm: Algorithm = Algorithm.GCRA


class Hold(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="hold", gc=False):
    """An ask for ``units`` of a bounded number of slots, held until the lease ends."""

    key: str
    slots: int
    units: int = 1


Ask = Spend | Hold


class Keep(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    array_like=True,
    gc=False,
    metaclass=ExplainedStruct,
):
    """Seconds a finished job is kept, per final state. 0 keeps nothing, ``None`` for ever."""

    succeeded: float | None = 3600.0
    failed: float | None = 7 * 86400.0
    cancelled: float | None = 86400.0


class StoredRetry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """When to try a job again, by what its call has said instead of the task."""

    # Classes of errors by name, "package.module.Name", subclasses included; none means all.
    on: tuple[str, ...] = ()
    give_up_on: tuple[str, ...] = ()
    # "fixed", "linear", "exponential", "fibonacci" or "decorrelated", and what it is made with.
    backoff: str = "exponential"
    pauses: Mapping[str, float] = {}
    # Seconds that an error may ask for.
    max_retry_after: float = 3600.0


class NewJob(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A job as it is pushed: everything that the store must enforce, and an opaque payload."""

    # Made by the client; a second push with it is answered ``exists``.
    id: str
    # Registered name of the task, "package.module.function".
    task: str
    # The sealed envelope (see treadle.codec).
    payload: bytes
    # "mail.acme" is a subqueue of "mail".
    queue: str = "default"
    # -100..100; larger is sooner.
    priority: int = 0
    # Not before; ``None`` is at once.
    due: In | At | None = None
    # Fails as ``expired`` when no attempt has started by then.
    expires: In | At | None = None
    unique: Unique | None = None
    # Mutual exclusion: at most ``key_slots`` jobs of one key run at a time. The latest
    # push sets the number.
    key: str | None = None
    key_slots: int = 1
    # Strict order of arrival within the key; a scheduled retry keeps the key.
    ordered: bool = False
    # Limits of the task and the queue, all or none of them granted by claim.
    asks: tuple[Spend | Hold, ...] = ()
    after: After | None = None
    # A lease that lapses ends the job instead of giving it back.
    at_most_once: bool = False
    # Leases lost by started attempts before it fails as ``crashed``.
    max_crashes: int = 3
    # Overrides of the task's own policies for this call; ``None`` leaves them. A timeout
    # of ``inf`` means none, retries of -1 mean without bound.
    timeout: float | None = None
    retries: int | None = None
    keep: Keep = Keep()
    tags: tuple[str, ...] = ()
    # Small JSON values for people to read and search.
    meta: Mapping[str, Any] = {}
    # Id of the flow it belongs to.
    flow: str | None = None
    # Jobs not yet final that the queue, subqueues included, may hold; refused ``full`` at it.
    bound: int | None = None
    # Instead of the task's own retry, but for the number of attempts, which is above.
    retry: StoredRetry | None = None
    # The job whose attempt has enqueued it.
    parent: str | None = None
    # How many jobs before it have each enqueued the next one, without a delay.
    depth: int = 0


class PushStatus(StrEnum):
    """What became of a push."""

    CREATED = "created"
    EXISTS = "exists"  # the id is known already
    DUPLICATE = "duplicate"  # another job holds the unique key
    REPLACED = "replaced"  # took the place of the holder
    RESCHEDULED = "rescheduled"  # moved the holder to the new due time
    FULL = "full"  # the queue is at its bound; the id stays free


class Pushed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The answer to the push of one job."""

    status: PushStatus
    # The job in question, when it is not the pushed one.
    of: str | None = None


class Token(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Proof of a lease. A stale one changes nothing and is told so."""

    job_id: str
    # +1 at each claim of the job, never reset.
    fence: int
    # 63 random bits of the session, so that a token stays unique even when a store is
    # rolled back to an older copy of itself.
    nonce: int


class Note(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a running attempt says of itself. The last one is stored."""

    current: float | None = None
    total: float | None = None
    message: str = ""
    # Merged over the job's ``meta`` when shown.
    meta: Mapping[str, Any] = {}
    # Opaque state that the next attempt is given.
    checkpoint: bytes | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A foreman's right to a job."""

    token: Token
    spec: NewJob
    tries: int = 0
    crashes: int = 0
    # Times it was given back with a reason, and since when; see ``Released``.
    releases: int = 0
    aside_since: float | None = None
    # It was leased when a foreman died, and may be the reason; it runs alone.
    suspect: bool = False
    created: float = 0.0
    # When the lease was granted, by the store's clock.
    started: float = 0.0
    # The last note of the attempt before, with its checkpoint.
    note: Note | None = None

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self.tries + self.crashes + 1


class Attempt(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An attempt that ended without success."""

    number: int
    cause: Cause
    # By the store's clock.
    started: float | None = None
    ended: float | None = None
    # Name of the session that ran it.
    holder: str = ""
    fault: Fault | None = None


class JobRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job as the store has it."""

    spec: NewJob
    # Order of arrival in the store.
    seq: int
    state: JobState
    # Goes up with every change; what ``find`` waits on.
    version: int = 0
    # Why it waits: "key:…", "limit:…", "after:…", or the reason of a release.
    reason: str = ""
    # The present ones; ``alter`` may have changed what the spec says.
    priority: int = 0
    due: float | None = None
    expires: float | None = None
    fence: int = 0
    tries: int = 0
    crashes: int = 0
    suspect: bool = False
    # A running job that was asked to stop.
    cancel_asked: bool = False
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    lease_until: float | None = None
    # Name of the session that holds it, or held it last.
    holder: str = ""
    # Ids it still waits for.
    waits_for: tuple[str, ...] = ()
    note: Note | None = None
    result: bytes | None = None
    # Reason of a ``Skip``.
    skipped: str | None = None
    # Of a failed job.
    cause: Cause | None = None
    fault: Fault | None = None
    # The last 20 attempts that failed, oldest first.
    attempts: tuple[Attempt, ...] = ()

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.spec.id

    @property
    def task(self) -> str:
        """The registered name of its task."""
        return self.spec.task

    @property
    def queue(self) -> str:
        """The queue that it was pushed to."""
        return self.spec.queue

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return self.spec.tags

    @property
    def meta(self) -> Mapping[str, Any]:
        """Its metadata, with what its attempts have added."""
        return self.spec.meta if self.note is None else {**self.spec.meta, **self.note.meta}

    @property
    def created_at(self) -> datetime:
        """When it was accepted, in UTC."""
        return moment(self.created)

    @property
    def due_at(self) -> datetime | None:
        """When it may start, in UTC."""
        return _moment(self.due)

    @property
    def expires_at(self) -> datetime | None:
        """When it fails unless it has started, in UTC."""
        return _moment(self.expires)

    @property
    def started_at(self) -> datetime | None:
        """When the last attempt started, in UTC."""
        return _moment(self.started)

    @property
    def finished_at(self) -> datetime | None:
        """When it ended, in UTC."""
        return _moment(self.finished)

    @property
    def duration(self) -> float | None:
        """Seconds from the start of its last attempt to its end; ``None`` until both have been."""
        if self.started is None or self.finished is None:
            return None
        return self.finished - self.started


def _moment(at: float | None) -> datetime | None:
    return None if at is None else moment(at)


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a foreman says of itself when it opens a session."""

    # Shown to people; host and process id by default.
    name: str
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    # Names of the tasks that it knows.
    tasks: tuple[str, ...] = ()
    concurrency: int = 0
    # Of the library.
    version: str = ""
    # Set by the store.
    opened: float = 0.0
    # Presence lapses then, unless renewed; set by the store.
    until: float = 0.0


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """An open session."""

    nonce: int
    info: SessionInfo


class Renewal(StrEnum):
    """The answer to the renewal of one lease."""

    HELD = "held"
    LOST = "lost"
    CANCEL = "cancel"  # held, and somebody asked the job to stop
    UNANSWERED = "unanswered"  # its backend, one of several, did not answer: nothing is known


class Settled(StrEnum):
    """The answer to the settling of one lease."""

    OK = "ok"
    ALREADY = "already"  # this very token has settled it before
    LOST = "lost"  # somebody else owns it, or owned it later
    UNKNOWN = "unknown"  # the store does not know the job
    UNANSWERED = "unanswered"  # its backend, one of several, did not answer: to be asked again
