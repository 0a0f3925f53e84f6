"""Looking at one job, and waiting until it has ended, without polling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from treadle.context import CURRENT
from treadle.durations import Duration, seconds
from treadle.errors import JobNotFound, TreadleError, WaitTimeout
from treadle.logs import get_logger
from treadle.ports import Backend, Feature, Page, Query
from treadle.records import FINAL, JobRecord, JobState
from treadle.why import Blocker, Kind, why

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.spool import Spool, Spools

__all__ = ["find_one", "not_found", "until_final"]

_log = get_logger("treadle.spool")
_of_tasks = get_logger("treadle.task")
_AT_ONCE = 30.0  # seconds that one question to the store may wait
_LONG = 10.0  # seconds after which a job that waits for a job in line is told what may be wrong
_SOON = 5.0  # seconds after which others are told that nobody is there to run what they wait for
_WORTH = 1.0  # seconds of waiting from which its end says why
_STUCK = frozenset(
    {Kind.NO_FOREMAN, Kind.UNKNOWN_TASK, Kind.PAUSED}
)  # until somebody does something
_LOOK_EVERY = 0.25  # seconds after which a spool is asked again; another process may forward


async def find_one(core: Core, job_id: str, *, wait: float = 0.0, version: int = -1) -> Page:
    """What the store has of one job, after a change when ``wait`` is given."""
    backend = await core.ready()
    return await backend.find(Query(ids=(job_id,), wait=wait, version=version))


async def until_final(core: Core, job_id: str, timeout: Duration | None) -> Page:
    """What the store has of a job once it has ended, or is gone.

    Raises:
        WaitTimeout: it has not ended in time.
        JobNotFound: it waited in the spool, and the store has refused it.
    """
    limit = None if timeout is None else seconds(timeout, "timeout")
    until = None if limit is None else core.clock.monotonic() + limit
    if core.store.spool is not None:
        await _forwarded(core, core.store.spool, job_id, until)
    left = _AT_ONCE
    # Who waits inside of a job holds the place that the other one may need.
    inside = CURRENT.get() is not None
    to_warn, first = True, _LONG if inside else _SOON
    while True:
        if until is not None:
            left = max(0.0, until - core.clock.monotonic())
        backend = await core.ready()
        query = Query(ids=(job_id,), wait=min(first if to_warn else _AT_ONCE, left), ended=True)
        page = await backend.find(query)
        if not page.records or page.records[0].state in FINAL:
            return page
        record = page.records[0]
        if to_warn and left >= first:
            to_warn = False
            if inside:
                _warn_of_line(record)
            else:
                await _warn_of_nobody(core, backend, record)
        if left <= 0:
            worth = limit is not None and limit >= _WORTH
            blocker = await _blocker(core, backend, record) if worth else None
            because = f": {blocker.says}; {blocker.action}" if blocker is not None else ""
            raise WaitTimeout(
                f"job {job_id} is {record.state.value} after {limit:g} s{because}; it goes "
                "on, only the waiting has ended",
                job_id=job_id,
            )


async def _blocker(core: Core, backend: Backend, record: JobRecord) -> Blocker | None:
    """What keeps a job from running and does not go by itself, if there is such a thing."""
    if record.state is JobState.RUNNING or Feature.SHARED not in backend.features:
        return None
    try:
        found = await why(backend, record.id, core.clock)
    except TreadleError:
        return None  # the waiting is what was asked for; this only helps
    blocker = next((one for one in found.blockers if one.kind in _STUCK), None)
    if (
        blocker is not None
        and blocker.kind is Kind.NO_FOREMAN
        and Feature.CROSS_PROCESS not in backend.features
    ):
        way = "run one in this program, async with app.foreman(), or make the app with eager=True"
        blocker = replace(blocker, action=way, command=())
    return blocker


async def _warn_of_nobody(core: Core, backend: Backend, record: JobRecord) -> None:
    """Say that a job which somebody waits for will not run unless something is done."""
    blocker = await _blocker(core, backend, record)
    if blocker is not None:
        _of_tasks.warning(
            "job.awaited",
            job=record.id,
            task=record.spec.task,
            queue=record.spec.queue,
            why=blocker.says,
            hint=blocker.action,
        )


def _warn_of_line(awaited: JobRecord) -> None:
    """Say what a job that waits for another one may have to wait for, for ever."""
    attempting = CURRENT.get()
    if attempting is None or awaited.state is not JobState.QUEUED:
        return
    _of_tasks.warning(
        "job.awaits_queued",
        **attempting.fields,
        awaits=awaited.id,
        queue=awaited.spec.queue,
        hint="it keeps its place while it waits for a job that has none. If all places are taken "
        "so, none goes on: let the end of one start the other (ctx.enqueue, after=), or serve "
        "that queue by foremen of its own",
    )


async def _forwarded(core: Core, spool: Spool | Spools, job_id: str, until: float | None) -> None:
    """Return when a job does not wait in the spool any more.

    Raises:
        WaitTimeout: it still does.
        JobNotFound: the store has refused it.
    """
    warned = False
    while (entry := spool.find(job_id)) is not None:
        if entry.reason:
            raise not_found(core, job_id)
        if not warned:
            warned = True
            _log.warning("spool.awaited", job=job_id, path=spool.file.path)
        pause = _LOOK_EVERY
        if until is not None:
            pause = min(pause, until - core.clock.monotonic())
            if pause <= 0:
                raise WaitTimeout(
                    f"job {job_id} waits in the spool {spool.file.path!r} until its store is back; "
                    "it stays there, only the waiting has ended",
                    job_id=job_id,
                )
        await core.clock.sleep(pause)


def not_found(core: Core, job_id: str) -> JobNotFound:
    """The error for a job of which the store has nothing."""
    spool = core.store.spool
    entry = None if spool is None else spool.find(job_id)
    if spool is None or entry is None:
        text = f"there is no job {job_id}, or it is no longer kept (see keep= and result_ttl=)"
    elif entry.reason:
        text = (
            f"the store has refused job {job_id}, which is kept in the spool "
            f"{spool.file.path!r}: {entry.reason}"
        )
    else:
        text = (
            f"job {job_id} waits in the spool {spool.file.path!r} and is forwarded when its "
            "store is back; until then the store knows nothing of it"
        )
    return JobNotFound(text, job_id=job_id)
