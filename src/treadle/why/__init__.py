"""Why a job is not running: what stands in its way, in order, and what would clear it."""

from __future__ import annotations

from shlex import quote

from treadle.clock import Clock
from treadle.ports import Backend
from treadle.records import FINAL, JobRecord, JobState
from treadle.why.reasons import BLOCKERS, moment
from treadle.why.records import Blocker, Kind, Why
from treadle.why.scene import Scene, foremen, missing, rules, survey

__all__ = ["Blocker", "Kind", "Why", "foremen", "missing", "rules", "why"]


async def why(backend: Backend, job_id: str, clock: Clock) -> Why:
    """What keeps a job from running; how it runs; or how it ended.

    Args:
        backend: an open backend that serves records.
        job_id: of the job.
        clock: says what is ahead.

    Raises:
        JobNotFound: the store does not know the job, or keeps it no longer.
    """
    scene = await survey(backend, job_id, clock)
    record = scene.record
    if record.state in FINAL:
        blockers = [_ended(record, scene.now)]
    elif record.state is JobState.RUNNING:
        blockers = [_running(record, scene.now)]
    else:
        blockers = [one for rule in BLOCKERS for one in rule(scene)] or [_in_line(scene)]
    return Why(
        job=record.id,
        task=record.spec.task,
        queue=record.spec.queue,
        state=record.state,
        summary=f"{record.state}: {blockers[0].says}",
        blockers=tuple(blockers),
    )


def _in_line(scene: Scene) -> Blocker:
    queue = scene.record.spec.queue
    waiting = scene.counts.get(queue, {}).get(JobState.QUEUED, 0)
    places = sum(one.concurrency for one in scene.serving)
    names = ", ".join(one.name for one in scene.serving[:5])
    return Blocker(
        kind=Kind.IN_LINE,
        says=f"nothing is in its way but other jobs: {waiting:,} are queued in {queue!r}, "
        f"served by {names} with {places:,} places",
        action="wait, raise its priority, or start more foremen",
    )


def _running(record: JobRecord, now: float) -> Blocker:
    where = f"on {record.holder}" if record.holder else "on a foreman"
    since = f" since {moment(record.started, now)}" if record.started else ""
    attempt = f"attempt {record.tries + record.crashes + 1} runs {where}{since}"
    if record.lease_until is not None and record.lease_until <= now:
        return Blocker(
            kind=Kind.LAPSED,
            says=f"{attempt}, but its lease ended {moment(record.lease_until, now)}",
            action="the next claim of any foreman takes it back; start one if none is running",
        )
    lease = f"; its lease ends {moment(record.lease_until, now)}" if record.lease_until else ""
    asked = "; it was asked to stop" if record.cancel_asked else ""
    progress = _progress(record)
    return Blocker(
        kind=Kind.RUNNING, says=f"{attempt}{lease}{asked}{progress}", until=record.lease_until
    )


def _progress(record: JobRecord) -> str:
    note = record.note
    if note is None or note.current is None:
        return ""
    total = f" of {note.total:g}" if note.total is not None else ""
    return f"; progress {note.current:g}{total} {note.message}".rstrip()


def _ended(record: JobRecord, now: float) -> Blocker:
    when = f" {moment(record.finished, now)}" if record.finished else ""
    says = f"{record.state}{when}"
    if record.state is JobState.SUCCEEDED:
        says += f", skipped: {record.skipped}" if record.skipped is not None else ""
        return Blocker(kind=Kind.ENDED, says=says)
    if record.cause is not None:
        says += f", cause {record.cause}"
    if record.fault is not None:
        says += f" ({record.fault.type}: {record.fault.message})".replace(": )", ")")
    if record.reason.startswith("after:"):
        says += f", because job {record.reason.removeprefix('after:')} did not succeed"
    tries = f"{record.tries} {'try' if record.tries == 1 else 'tries'}"
    crashes = f" and {record.crashes} crash{'es' if record.crashes != 1 else ''}"
    says += f", after {tries}{crashes if record.crashes else ''}"
    return Blocker(
        kind=Kind.ENDED,
        says=says,
        action=f"run it again: treadle jobs retry {quote(record.id)}",
        command=("jobs", "retry", record.id),
    )
