"""Every exception that Treadle raises, in one tree.

::

    TreadleError
    ├── UsageError                 the calling code is wrong and must be changed
    │   ├── InvalidOption          an option has a value that cannot work       (ValueError)
    │   ├── UnknownOption          an option that does not exist, with a hint   (TypeError)
    │   ├── InvalidCall            arguments do not fit the task's parameters   (TypeError)
    │   ├── Blocking               a blocking verb inside a running event loop  (RuntimeError)
    │   ├── NotOpen                an object is used before start or after stop (RuntimeError)
    │   └── Unsupported            the backend cannot serve what is asked
    ├── PayloadError               a value cannot travel                        (ValueError)
    │   ├── NotEncodable           no encoding, or it does not fit the annotation
    │   ├── NotDecodable           stored bytes do not fit the annotation
    │   │   └── NewerFormat        a newer version of the library wrote them
    │   ├── PayloadTooLarge        more than ``max_payload`` bytes
    │   └── SignatureInvalid       unsigned, forged, or signed with an unknown key
    ├── EnqueueError               a job was not accepted
    │   ├── QueueFull              the queue holds as many jobs as it may
    │   ├── DuplicateJob           another job holds the unique key
    │   └── OutcomeUnknown         the request may or may not have been carried out
    ├── UnknownTask                no task of that name is registered           (LookupError)
    ├── JobNotFound                no such job, or no longer kept               (LookupError)
    ├── JobError                   a job did not end with a result
    │   ├── JobFailed              it failed; carries the error as data
    │   ├── JobCancelled           it was cancelled
    │   └── ResultExpired          it succeeded, its result is no longer kept
    ├── WaitTimeout                waiting ended before the job did             (TimeoutError)
    ├── AttemptTimeout             one attempt ran longer than it may           (TimeoutError)
    ├── LimitTimeout               a limit was not granted in time              (TimeoutError)
    ├── LockTimeout                a lock was not free in time                  (TimeoutError)
    ├── LeaseLost                  somebody else owns the job, or the lock, now
    ├── TransactionTooLong         a transaction outlived its share of the lease
    ├── ResultRejected             ``retry_until`` refused every result
    ├── BreakerOpen                calls are held back after too many failures
    ├── CallCancelled              a call of a worker was cancelled
    ├── WorkerError                a worker could not do what it was asked
    │   ├── WorkerNotStarted       making or starting it failed; the cause says why
    │   ├── WorkerStopped          it was stopped before it could
    │   ├── WorkerCrashed          what it ran in has died
    │   └── PoolFull               as many calls wait as may
    ├── BackendError               the store said no
    │   ├── BackendUnavailable     it cannot be reached; trying again may help
    │   ├── BackendStalled         another process holds it and does not move
    │   ├── BackendFull            no space left
    │   ├── BackendReadOnly        it cannot be written
    │   └── SchemaMismatch         it belongs to another program or another version
    └── Control                    raised by a task to steer its own outcome
        ├── RetryLater             another attempt, counted
        ├── Skip                   end without result and without error
        ├── Fail                   fail now, no further attempts
        ├── Trip                   open the breaker, give the job back uncounted
        └── Quit                   stop the foreman in good order

A message says what is wrong and what to do. What a program may want to read is an
attribute. All of them can be pickled.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.faults import Fault

__all__ = [
    "AttemptTimeout",
    "BackendError",
    "BackendFull",
    "BackendReadOnly",
    "BackendStalled",
    "BackendUnavailable",
    "Blocking",
    "BreakerOpen",
    "CallCancelled",
    "Control",
    "DuplicateJob",
    "EnqueueError",
    "Fail",
    "InvalidCall",
    "InvalidOption",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "LeaseLost",
    "LimitTimeout",
    "LockTimeout",
    "NewerFormat",
    "NotDecodable",
    "NotEncodable",
    "NotOpen",
    "OutcomeUnknown",
    "PayloadError",
    "PayloadTooLarge",
    "PoolFull",
    "QueueFull",
    "Quit",
    "ResultExpired",
    "ResultRejected",
    "RetryLater",
    "SchemaMismatch",
    "SignatureInvalid",
    "Skip",
    "TransactionTooLong",
    "TreadleError",
    "Trip",
    "UnknownOption",
    "UnknownTask",
    "Unsupported",
    "UsageError",
    "WaitTimeout",
    "WorkerCrashed",
    "WorkerError",
    "WorkerNotStarted",
    "WorkerStopped",
]


class TreadleError(Exception):
    """Base of all errors of the library.

    Keyword arguments become attributes, which also travel when the error is pickled.
    """

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)


class UsageError(TreadleError):
    """The calling code is wrong and must be changed."""


class InvalidOption(UsageError, ValueError):
    """An option has a value that cannot work. Attributes: ``option``, ``value``."""

    option: str
    value: Any


class UnknownOption(UsageError, TypeError):
    """An option that does not exist. Attributes: ``option``, ``known``."""

    option: str
    known: tuple[str, ...]


class InvalidCall(UsageError, TypeError):
    """The arguments do not fit the parameters of the task. Attribute: ``task``."""

    task: str


class Blocking(UsageError, RuntimeError):
    """A verb that would block was called inside a running event loop. Attribute: ``twin``."""

    twin: str


class NotOpen(UsageError, RuntimeError):
    """An object is used before it was started or after it was stopped."""


class Unsupported(UsageError):
    """The backend cannot serve what is asked. Attributes: ``backend``, ``feature``."""

    backend: str
    feature: str


class PayloadError(TreadleError, ValueError):
    """A value cannot travel. Attribute: ``path``, such as ``options.sizes[3]``."""

    path: str = ""


class NotEncodable(PayloadError):
    """A value has no encoding, or does not fit its annotation."""


class NotDecodable(PayloadError):
    """Stored bytes do not fit the annotation they are read against."""


class NewerFormat(NotDecodable):
    """A newer version of the library wrote the bytes. Attributes: ``version``, ``known``."""

    version: int
    known: int


class PayloadTooLarge(PayloadError):
    """A payload has more bytes than it may. Attributes: ``size``, ``limit``, in bytes."""

    size: int
    limit: int


class SignatureInvalid(PayloadError):
    """A payload is unsigned, forged, or signed with a key that is not in the ring."""


class EnqueueError(TreadleError):
    """A job was not accepted."""


class QueueFull(EnqueueError):
    """The queue holds as many jobs as it may. Attributes: ``queue``, ``bound``."""

    queue: str
    bound: int


class DuplicateJob(EnqueueError):
    """Another job holds the unique key. Attributes: ``key``, ``holder`` (a job id)."""

    key: str
    holder: str


class OutcomeUnknown(EnqueueError):
    """The request may or may not have been carried out. Attribute: ``job_id``."""

    job_id: str


class UnknownTask(TreadleError, LookupError):
    """No task of that name is registered. Attributes: ``task``, ``known``."""

    task: str
    known: tuple[str, ...]


class JobNotFound(TreadleError, LookupError):
    """No such job, or it is no longer kept. Attribute: ``job_id``."""

    job_id: str


class JobError(TreadleError):
    """A job did not end with a result. Attribute: ``job_id``."""

    job_id: str = ""


class JobFailed(JobError):
    """A job failed. Attributes: ``cause`` (see :class:`~treadle.Cause`), ``fault``.

    ``fault`` holds the type name, message, traceback text, causes and notes of the error
    as data, because the process that reads it may not have the class.
    """

    cause: str = "error"
    fault: Fault | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.fault is None or not self.fault.traceback:
            return text
        return f"{text}\n\n{self.fault.traceback.rstrip()}"


class JobCancelled(JobError):
    """The job was cancelled."""


class ResultExpired(JobError):
    """The job succeeded, but its result is no longer kept."""


class WaitTimeout(TreadleError, TimeoutError):
    """Waiting ended before the job did. The job goes on. Attribute: ``job_id``."""

    job_id: str = ""


class AttemptTimeout(TreadleError, TimeoutError):
    """One attempt ran longer than it may. Attribute: ``timeout``, in seconds."""

    timeout: float = 0.0


class LimitTimeout(TreadleError, TimeoutError):
    """A limit was not granted in time. Attribute: ``keys``."""

    keys: tuple[str, ...] = ()


class LockTimeout(TreadleError, TimeoutError):
    """A lock was not free in time. Attribute: ``name``."""

    name: str = ""


class LeaseLost(TreadleError):
    """Somebody else owns the job, or the lock, now; what this process knows no longer counts."""


class TransactionTooLong(TreadleError):
    """A transaction outlived its share of the lease and was rolled back."""


class ResultRejected(TreadleError):
    """No attempt gave a result that ``until`` accepts.

    Attributes: ``attempts``; ``result``, the last as Python writes it, shortened; ``validator``,
    the name of what did not accept it. A job keeps the message alone.
    """

    attempts: int = 0
    result: str = ""
    validator: str = ""


class BreakerOpen(TreadleError):
    """Calls are held back after too many failures. Attribute: ``retry_after``, in seconds."""

    retry_after: float = 0.0


class CallCancelled(TreadleError):
    """A call of a worker was cancelled before it had ended."""


class WorkerError(TreadleError):
    """A worker could not do what it was asked. Attribute: ``worker``, its name."""

    worker: str = ""


class WorkerNotStarted(WorkerError):
    """Making or starting a worker failed; ``__cause__`` is what it raised."""


class WorkerStopped(WorkerError):
    """A worker was stopped before it could carry out the call, or while it did."""


class WorkerCrashed(WorkerError):
    """The process or actor that a worker lived in has died while it ran the call.

    Attributes: ``exit_code``, ``signal`` (a number), where they are known; ``oom``, whether it was
    likely for want of memory.
    """

    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False


class PoolFull(WorkerError):
    """As many calls wait as may: ``max_queued_tasks``."""


class BackendError(TreadleError):
    """The store said no. Attribute: ``backend``, the URL without secrets."""

    backend: str = ""


class BackendUnavailable(BackendError):
    """The store cannot be reached; trying again may help."""


class BackendStalled(BackendError):
    """Another process holds the store and does not move. Attribute: ``pid`` of the holder."""

    pid: int = 0


class BackendFull(BackendError):
    """The store has no space left. Nothing was changed."""


class BackendReadOnly(BackendError):
    """The store cannot be written."""


class SchemaMismatch(BackendError):
    """The store belongs to another program, or to a version that this one cannot read."""


class Control(TreadleError):
    """Raised by a task to steer its own outcome.

    Args:
        reason: said in logs, events and the record of the attempt.
        restart_worker: restart the stateful worker before its next call.
    """

    def __init__(self, reason: str = "", *, restart_worker: bool = False, **details: Any) -> None:
        super().__init__(reason, reason=reason, restart_worker=restart_worker, **details)

    reason: str
    restart_worker: bool


class RetryLater(Control):
    """Another attempt, counted against the retry budget.

    Args:
        reason: why.
        delay: seconds or ``timedelta`` until the next attempt; ``None`` asks the backoff.
        restart_worker: restart the stateful worker first.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        delay: float | timedelta | None = None,
        restart_worker: bool = False,
    ) -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        super().__init__(reason, restart_worker=restart_worker, delay=seconds)

    delay: float | None


class Skip(Control):
    """The job ends without a result and without an error."""


class Fail(Control):
    """The job fails now, without further attempts, and counts toward the breaker."""


class Trip(Control):
    """The breaker opens now; the job is given back uncounted, three times at most."""


class Quit(Control):
    """The foreman, and its supervisor, stop in good order with exit status 75."""
