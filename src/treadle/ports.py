"""The ports: what every backend serves, written around what must be atomic.

Three protocols, batches first. Each step named here is one atomic change of the store: it
happens whole or not at all, and no other caller sees it half done. ``docs/architecture.md``
has the reasons; ``treadle.testing.contract`` has a test for each numbered point.

A step may end jobs that it was not asked about: they expired, they waited for one that failed,
their lease lapsed; or it finds that they have crashed and run once more. So that somebody tells of
them, the answer has a :class:`~treadle.fates.Fate` of each, in its field ``fates``; an answer that
is a list is one of the kind :class:`~treadle.fates.Answers` if there are any; and verbs that have
no answer of their own give the fates. A claim that is repeated has the same ones again, or none.
What gets lost with an answer is told by nobody.

A backend is a thread-safe store that the process shares and a client per event loop. It is
built with a :class:`~treadle.clock.Clock` and :class:`~treadle.ids.Ids`, and no verb takes a
time from its caller except as :class:`~treadle.records.In` or :class:`~treadle.records.At`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from enum import StrEnum
from typing import Any, Protocol, cast

import msgspec

from treadle.durability import Durability
from treadle.events import Event
from treadle.fates import Fate
from treadle.records import (
    Ask,
    JobRecord,
    JobState,
    Lease,
    NewJob,
    Note,
    Pushed,
    Renewal,
    Session,
    SessionInfo,
    Settled,
    Token,
    When,
)
from treadle.verdicts import Verdict

__all__ = [
    "ADVANCE",
    "ALTER_MAX",
    "EXAMINE_MAX",
    "PARK_MAX",
    "QUEUE_CELL",
    "SESSION_CELL",
    "Altered",
    "Backend",
    "Cancel",
    "Cell",
    "Change",
    "Claim",
    "Claimed",
    "Delete",
    "Events",
    "Feature",
    "Gone",
    "Granted",
    "Held",
    "Jobs",
    "Page",
    "Permit",
    "Placed",
    "Query",
    "QueueRule",
    "Reprioritise",
    "Reschedule",
    "Retry",
    "Routed",
    "Settlement",
    "Shared",
    "Ticket",
    "Transactions",
    "Unit",
    "Wait",
    "Write",
    "placing",
    "routed",
]

ADVANCE = 50
"""Due, lapsed and expired jobs, of each kind, that one claim, find or wait moves on."""
PARK_MAX = 100
"""Jobs of full keys or limits that one claim parks before it answers ``more``."""
EXAMINE_MAX = 1000
"""Records that one find looks at."""
ALTER_MAX = 1000
"""Records that one alter changes."""
QUEUE_CELL = "queue:"
"""Prefix of the cells that hold a :class:`QueueRule`."""
SESSION_CELL = "session:"
"""Prefix of the read-only cells that hold the :class:`SessionInfo` of open sessions."""


class Feature(StrEnum):
    """What a backend may be unable to serve."""

    RECORDS = "records"  # find, alter, results
    UNIQUE = "unique"
    KEYS = "keys"  # keys and limits
    AFTER = "after"  # dependencies
    PRIORITY = "priority"
    DELAY = "delay"
    SHARED = "shared"
    PUSHES_WAKE = "pushes_wake"  # ``wait`` needs no polling
    CROSS_PROCESS = "cross_process"  # jobs outlive the process
    ORDER = "order"  # priority and arrival count over all jobs, not in parts of them
    TOGETHER = "together"  # a job, a permit and a write may name any keys and limits at once
    BOUNDS = "bounds"  # jobs are counted over all: ``max_running``, ``bound``, ``max_failed``
    TRANSACTIONS = "transactions"  # the caller's rows, jobs and verdicts in one commit


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A request for jobs.

    ``queues`` are in order of preference; ``mail`` covers ``mail.*``, ``*`` covers all.
    Of ``queues`` and ``exclude`` the most specific name wins.
    """

    session: Session
    # Number of the request in its session, from 1. The store repeats its last answer.
    request: int
    limit: int
    queues: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    # Seconds.
    lease: float = 30.0
    # Leases that the session still has. A suspect is given out only at 0, and alone.
    holding: int = 0
    # Ids of jobs to grant before all others, in this order: those of them that this claim could
    # grant at all. The others are passed over, and the places that are left filled as ever.
    first: tuple[str, ...] = ()


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim."""

    leases: tuple[Lease, ...] = ()
    # There may be more to claim at once: jobs were left, or parking reached its bound.
    more: bool = False
    # Suspects wait for a session that holds nothing.
    suspects_wait: bool = False
    # Seconds until the next job of these queues is due or lapses; ``None`` when nothing is known.
    next_due: float | None = None
    # Jobs that ended by themselves in this step.
    fates: tuple[Fate, ...] = ()


class Held(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A lease to renew."""

    token: Token
    # The attempt has started; a crash from now on counts.
    started: bool = False
    # Replaces the last note, when there is something to say.
    note: Note | None = None


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The end of an attempt."""

    token: Token
    verdict: Verdict
    # Pushed in the same step when the verdict is ``Done``. They ignore bounds; a unique
    # conflict resolves to ``skip`` and is recorded under their id.
    follow_ups: tuple[NewJob, ...] = ()
    # The last word of the attempt: progress and checkpoint.
    note: Note | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to find. All conditions must hold.

    Indexed are ``ids``; (``queue``, ``states``); ``unique``; ``flow``; (``task``, ``failed``).
    Other conditions filter while paging through one of these, at most ``EXAMINE_MAX`` a call.
    """

    ids: tuple[str, ...] = ()
    # With its subqueues.
    queue: str | None = None
    states: tuple[JobState, ...] = ()
    # Exact name, or a glob such as "mail.*".
    task: str | None = None
    # Jobs that have all of them.
    tags: tuple[str, ...] = ()
    # The job that holds this unique key now.
    unique: str | None = None
    key: str | None = None
    flow: str | None = None
    # Bounds on ``created``, seconds since the epoch.
    since: float | None = None
    until: float | None = None
    # Text that must occur in the fault's type or message.
    error: str | None = None
    # By arrival; newest first by default.
    oldest_first: bool = False
    limit: int = 100
    # From the page before.
    cursor: str | None = None
    # Fill ``Page.counts``.
    counts: bool = False
    # With a single id: wait up to so many seconds until its version is above ``version``
    # or it is gone, and answer what is there then. With ``ended`` only its end counts.
    wait: float = 0.0
    version: int = -1
    ended: bool = False


class Gone(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What is still known of a job that is no longer kept: its tombstone."""

    # The answer that a repeated push gets.
    pushed: Pushed
    # How it ended; ``None`` when it did not: it was removed before, or never became a job
    # (a duplicate, a skipped follow-up).
    state: JobState | None = None
    # Its last token, so that a repeated settle is answered ``already``.
    token: Token | None = None
    at: float = 0.0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a find. States are effective: what is due shows as queued."""

    records: tuple[JobRecord, ...] = ()
    # Asked for by id and only a tombstone is left.
    gone: Mapping[str, Gone] = {}
    # Where to go on; ``None`` at the end.
    cursor: str | None = None
    # Records looked at.
    examined: int = 0
    # Exact jobs per queue and state, where asked for.
    counts: Mapping[str, Mapping[JobState, int]] = {}
    # Exact failed jobs per task, where asked for.
    failures: Mapping[str, int] = {}
    # Jobs that ended by themselves in this step.
    fates: tuple[Fate, ...] = ()


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Not running: final at once. Running: asked. Final: refused."""


class Retry(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Failed or cancelled: queued again with fresh ``tries`` and ``crashes``. Else refused."""

    due: When | None = None


class Reschedule(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Scheduled or queued: due at another time. Else refused."""

    due: When


class Reprioritise(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Not final and not running: another priority. Else refused."""

    priority: int


class Delete(msgspec.Struct, frozen=True, tag=True):
    """Not running: removed, leaving a tombstone. Running: refused."""


Change = Cancel | Retry | Reschedule | Reprioritise | Delete


class Altered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an alter."""

    # Ids, in the order they were found.
    done: tuple[str, ...] = ()
    # Running jobs that were asked to stop.
    asked: tuple[str, ...] = ()
    # Id to the state that forbids the change.
    refused: Mapping[str, JobState] = {}
    cursor: str | None = None
    # Jobs that ended by themselves in this step, such as those that waited for a cancelled one.
    fates: tuple[Fate, ...] = ()


class QueueRule(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What holds for a queue and its subqueues; lives in the cell ``queue:<name>``."""

    paused: bool = False
    # Why, by whom, since when and until when it is paused.
    reason: str = ""
    by: str = ""
    since: float | None = None
    until: float | None = None
    # Jobs that may run at a time; ``None`` without bound.
    max_running: int | None = None


class Jobs(Protocol):
    """Durable jobs."""

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present, with a fresh nonce, or that which it has in another store."""
        ...

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """End presence and give back every lease: as crashed if it was started, else unblamed.

        Gives the jobs that crashed or ended with it, and those that waited for them.
        """
        ...

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs, idempotent by id, answers in order. One step per call.

        An answer is recorded, so that a repeat gets the same one; ``full`` is not.
        """
        ...

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs. Never waits. One step.

        Moves time forward first. Jobs of a full key or slot are parked in its line; a short
        rate reserves its place and schedules the job for that instant. All asks of a job are
        granted or none.
        """
        ...

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim, at the latest after ``timeout``.

        Also at once with the jobs that ended by themselves meanwhile.

        The names are those of the claim that follows, so that it finds what ended the wait.

        A hint that grants nothing. It may return early, never needlessly late where
        ``Feature.PUSHES_WAKE`` is served.
        """
        ...

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Return when a queue may be below a bound, at the latest after ``timeout``.

        A hint that keeps no place: the push that follows may be answered ``full`` again. Each
        job that ends or is removed ends one of the waits of its queue and those above, for each
        bound that is waited for, the oldest first; a store that knows that there is no room all
        the same need not. It may return early, and does with the jobs
        that ended by themselves meanwhile.
        """
        ...

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew the leases that are listed, store their notes, answers in order. One step.

        Also renews presence and the holds of the jobs. An empty list is a heartbeat. A lease
        of 0 seconds gives up the listed leases: started ones as crashed, others as suspects. Only
        such an answer has fates, because renewals come from a thread of their own.
        """
        ...

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts, answers in order. One step per settlement, grouped where possible.

        Token → result or next due time → lease, holds, key and unique released → dependants
        made ready → follow-ups pushed.
        """
        ...

    async def find(self, query: Query) -> Page:
        """Look at jobs. Moves time forward first, so that states are effective.

        A wait ends early when jobs have ended by themselves meanwhile.

        Raises:
            InvalidOption: the cursor is none that a page gave.
        """
        ...

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change the jobs that a query finds, at most ``ALTER_MAX`` a call. One step a job."""
        ...


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the line of a limit."""

    id: str


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of an acquisition."""

    id: str
    asks: tuple[Ask, ...]
    who: str
    # Goes up with each grant of the same keys; for outside stores to refuse a late writer.
    fence: int = 0


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """All asks were granted."""

    permit: Permit


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Not now. Ask again with the ticket, which keeps the place in line."""

    # Seconds after which asking again makes sense.
    delay: float
    ticket: Ticket


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A small versioned value."""

    value: bytes
    # Goes up with every write, from 1.
    version: int


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One write of a group that happens whole or not at all."""

    key: str
    # ``None`` deletes.
    value: bytes | None
    # The version that must be there; 0 for none, ``None`` for any.
    expect: int | None = None
    # Seconds after which the cell is gone; ``None`` never.
    ttl: float | None = None


class Shared(Protocol):
    """Small state shared by a fleet."""

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Take all asks or none, first come first served per key. One step. Never waits."""
        ...

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Keep what is held; False when it has lapsed."""
        ...

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key: the rest is refunded, more becomes debt."""
        ...

    async def release(self, permit: Permit) -> None:
        """Free what is held. Harmless when it has lapsed."""
        ...

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line."""
        ...

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist. A key that ends in ``*`` reads all with that prefix."""
        ...

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none when a version is not the expected one."""
        ...


class Events(Protocol):
    """Facts for observers. Best effort, never needed for correctness."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        ...

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches the glob, from now on."""
        ...


class Unit(Protocol):
    """A transaction on a connection of its own, while it is open."""

    # What the caller writes through.
    connection: Any
    # Carried out with the commit, which is refused unless each of them is answered ``ok``.
    ends: list[Settlement]
    # The commit has happened, as far as is known.
    committed: bool
    # With it: jobs that ended by themselves, as its verdicts had it.
    fates: tuple[Fate, ...]


class Transactions(Protocol):
    """Rows of the caller in one commit with jobs and verdicts: ``Feature.TRANSACTIONS``.

    The block of a transaction commits when it is left, and rolls back when it raises, when it took
    longer than ``limit`` seconds (``TransactionTooLong``), or when the lease of an attempt that was
    to end with it was lost (``LeaseLost``).
    """

    def transaction(self, limit: float) -> AbstractContextManager[Unit]:
        """A transaction for code that may block."""
        ...

    def atransaction(self, limit: float) -> AbstractAsyncContextManager[Unit]:
        """A transaction for code in an event loop."""
        ...

    async def push_within(self, within: Any, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Push jobs on a connection of the caller, whose commit accepts them.

        What fails leaves the caller's transaction as it was. On a connection that blocks it never
        waits for the event loop, so that code without one can carry it out.

        Raises:
            InvalidOption: ``within`` is no connection that this store knows.
        """
        ...


class Backend(Jobs, Shared, Events, Protocol):
    """What ``treadle.backends.open(url)`` gives."""

    # Without secrets.
    url: str
    features: frozenset[Feature]

    async def open(self) -> None:
        """Reach the store and check that it can be used. Called before the first verb of a loop."""
        ...

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        ...

    def close(self) -> None:
        """Close the store of this process; every client of it is closed."""
        ...

    async def probe(self) -> Mapping[str, Any]:
        """Facts for ``treadle doctor``: version, durability, sizes, what can be lost."""
        ...


class Vacancy(msgspec.Struct, frozen=True, kw_only=True):
    """A store that can be reached and in which nothing has been made yet."""

    # What is not there: "there are no tables …".
    says: str
    # How it comes.
    comes: str
    # What can be said of the server, as by ``Backend.probe``.
    facts: Mapping[str, Any] = {}


class Surveyed(Protocol):
    """A store that can be looked at without making anything in it."""

    async def survey(self) -> Vacancy | None:
        """What is missing; ``None`` when all is there. Called before ``open``, which makes it."""
        ...


def surveying(backend: Backend) -> Callable[[], Awaitable[Vacancy | None]] | None:
    """What looks for a vacancy; ``None`` where a backend cannot say."""
    found: Callable[[], Awaitable[Vacancy | None]] | None = getattr(backend, "survey", None)
    return found


class Lasting(Protocol):
    """A store that says what of accepted jobs outlasts which loss."""

    # A level of ``treadle.durability``; ``None`` as long as the server was not asked.
    durability: str | None


def durability_of(backend: Backend) -> str | None:
    """What a store says that it gives; ``None`` when that is not known yet.

    One that does not say anything is taken for one that keeps nothing.
    """
    given: str | None = getattr(backend, "durability", Durability.MEMORY)
    return given


class Placed(Protocol):
    """A store in parts, where the id of a job tells in which of them it is."""

    def placed(self, job: NewJob) -> str:
        """The id to give to a job: its own, changed as little as it has to be.

        Raises:
            InvalidOption: what it names lies in different parts.
        """
        ...


def placing(backend: Backend) -> Callable[[NewJob], str] | None:
    """What gives jobs their ids where a store is in parts; ``None`` where any id will do."""
    found: Callable[[NewJob], str] | None = getattr(backend, "placed", None)
    return found


class Routed(Protocol):
    """Several backends behind the ports of one, each with the queues that are routed to it."""

    # By name, that of the URL first.
    parts: Mapping[str, Backend]

    async def reach(self, name: str) -> Backend:
        """One of them, connected for the running loop."""
        ...

    def route(self, queue: str) -> str:
        """The name of the backend of a queue."""
        ...

    def alone(self, queue: str) -> bool:
        """Whether all its subqueues live in the same backend."""
        ...


def routed(backend: Backend) -> Routed | None:
    """The backends of which one is made, where it is made of several."""
    return cast("Routed", backend) if hasattr(backend, "parts") else None
