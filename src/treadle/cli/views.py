"""Jobs as JSON and as rows. The keys are stable: scripts read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from treadle.cli.times import iso, short
from treadle.codec import Codec
from treadle.codec.exts import Tagged
from treadle.codec.natural import read
from treadle.errors import TreadleError
from treadle.faults import Fault
from treadle.records import Attempt, Hold, JobRecord, JobState

__all__ = ["attempt", "brief", "detail", "moment", "plain", "remark"]


def brief(record: JobRecord) -> dict[str, Any]:
    """What ``jobs list --json`` says of a job."""
    spec, note = record.spec, record.note
    return {
        "id": record.id,
        "task": spec.task,
        "queue": spec.queue,
        "state": record.state,
        "reason": record.reason or None,
        "priority": record.priority,
        "attempt": attempt(record),
        "tries": record.tries,
        "crashes": record.crashes,
        "suspect": record.suspect,
        "cancel_asked": record.cancel_asked,
        "created": iso(record.created),
        "due": iso(record.due),
        "expires": iso(record.expires),
        "started": iso(record.started),
        "finished": iso(record.finished),
        "lease_until": iso(record.lease_until),
        "holder": record.holder or None,
        "waits_for": record.waits_for,
        "key": spec.key,
        "unique": spec.unique.key if spec.unique else None,
        "flow": spec.flow,
        "parent": spec.parent,
        "tags": spec.tags,
        "meta": {**spec.meta, **(note.meta if note else {})},
        "progress": _progress(record),
        "skipped": record.skipped,
        "cause": record.cause,
        "error": _fault(record.fault, whole=False),
    }


def detail(record: JobRecord, codec: Codec) -> dict[str, Any]:
    """What ``jobs show --json`` says of a job: all of it."""
    return {
        **brief(record),
        "error": _fault(record.fault, whole=True),
        "attempts": [_attempt(one) for one in record.attempts],
        "limits": [
            {"key": ask.key, "slots": ask.slots, "units": ask.units}
            if isinstance(ask, Hold)
            else {"key": ask.key, "count": ask.count, "per": ask.per, "cost": ask.cost}
            for ask in record.spec.asks
        ],
        "arguments": _opened(codec, record, record.spec.payload),
        "arguments_bytes": len(record.spec.payload),
        "result": _opened(codec, record, record.result) if record.result is not None else None,
        "result_bytes": len(record.result) if record.result is not None else None,
    }


def moment(record: JobRecord, now: float) -> str:
    """The time that matters in the state of the job, short."""
    if record.state is JobState.SCHEDULED:
        return short(record.due, now)
    if record.state is JobState.RUNNING:
        return short(record.started, now)
    return short(record.finished or record.created, now)


def remark(record: JobRecord) -> str:
    """One line on why the job is where it is."""
    if record.fault is not None and record.state is JobState.FAILED:
        first = record.fault.message.partition("\n")[0]
        name = record.fault.type.rpartition(".")[2]
        return f"{name}: {first}" if first else name
    if record.cause is not None:
        return str(record.cause)
    if record.skipped is not None:
        return f"skipped: {record.skipped}"
    progress = _progress(record)
    if progress and record.state is JobState.RUNNING:
        total = f"/{progress['total']:g}" if progress["total"] is not None else ""
        return f"{progress['current']:g}{total} {progress['message']}".strip()
    if record.reason:
        return record.reason
    return f"attempt {attempt(record)}" if record.tries + record.crashes else ""


def attempt(record: JobRecord) -> int:
    """The number of the present attempt, of the last one, or of the next."""
    ended = record.tries + record.crashes
    return max(1, ended) if record.state is JobState.FAILED else ended + 1


def _progress(record: JobRecord) -> dict[str, Any] | None:
    note = record.note
    if note is None or (note.current is None and not note.message):
        return None
    return {"current": note.current or 0.0, "total": note.total, "message": note.message}


def _fault(fault: Fault | None, *, whole: bool) -> dict[str, Any] | None:
    if fault is None:
        return None
    shown: dict[str, Any] = {"type": fault.type, "message": fault.message}
    if whole:
        shown["traceback"] = fault.traceback
        shown["notes"] = fault.notes
        shown["causes"] = [_fault(one, whole=True) for one in fault.causes]
    return shown


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "cause": attempt.cause,
        "started": iso(attempt.started),
        "ended": iso(attempt.ended),
        "holder": attempt.holder or None,
        "error": _fault(attempt.fault, whole=False),
    }


def _opened(codec: Codec, record: JobRecord, sealed: bytes) -> Any:
    """A payload as plain data, or ``None`` where it cannot be read without the app."""
    try:
        return plain(read(codec.body_of(sealed, record.spec.task, record.id)))
    except TreadleError:
        return None


def plain(value: Any) -> Any:
    """A decoded value as JSON has it; what JSON has not becomes text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            pairs = cast("Mapping[Any, Any]", value)
            return {str(key): plain(item) for key, item in pairs.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in cast("list[Any]", value)]
        case Tagged():
            return plain(value.value)
        case bytes():
            return f"{len(value)} bytes"
        case _:
            return str(value)
