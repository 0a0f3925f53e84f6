"""Whether a job may be claimed: its key, its slots, its rates, all or nothing."""

from __future__ import annotations

from treadle.backends.common.holds import holds_of
from treadle.backends.memory.job import Job
from treadle.backends.memory.lines import LIMIT, Line
from treadle.backends.memory.moves import key_line, park, to_schedule, unwake
from treadle.backends.memory.store import Store
from treadle.records import Hold, Scope, Spend

__all__ = ["admit", "slots_line"]


def admit(store: Store, job: Job) -> bool:
    """Take what the job asks for; or park it, or schedule it, and say False."""
    holds: list[tuple[str, int]] = []
    line = _full(store, job, holds)
    if line is not None:
        _give_up(store, job, line.name)
        need = next((units for name, units in holds if name == line.name), 1)
        park(store, job, line, need)
        return False
    if job.spec.asks and not job.paid:
        rates = [ask for ask in job.spec.asks if type(ask) is Spend]
        at = store.rates.spend(rates, store.now, book_ahead=True)
        if at > store.now:
            job.paid = True
            _give_up(store, job, "")
            to_schedule(store, job, at)
            return False
    for name, units in holds:
        store.lines[name].used += units
    job.holds = tuple(holds)
    _granted(store, job)
    return True


def _full(store: Store, job: Job, holds: list[tuple[str, int]]) -> Line | None:
    """The first line without free units for the job; what it wants of each goes into ``holds``."""
    if job.spec.key is not None:
        line = key_line(store, job)
        holds.append((line.name, 1))
        if line.used >= line.slots or (job.spec.ordered and line.first() is not job):
            return line
    for hold in holds_of(job.spec.asks) if job.spec.asks else ():
        line = slots_line(store, hold)
        holds.append((line.name, hold.units))
        if line.used + hold.units > hold.slots:
            return line
    return None


def slots_line(store: Store, ask: Hold) -> Line:
    """The line of a limit, which has as many slots as the latest ask says."""
    line = store.line(LIMIT + ask.key, ask.slots)
    if line.slots != ask.slots:
        if ask.slots > line.slots:
            store.slack.append(line.name)
        line.slots = ask.slots
    return line


def _give_up(store: Store, job: Job, wants: str) -> None:
    """The job was woken and cannot be claimed: what it was woken for is for the next."""
    if job.woken:
        unwake(store, job)
        if job.woken != wants:
            store.slack.append(job.woken)
        job.woken = ""


def _granted(store: Store, job: Job) -> None:
    if job.woken:
        unwake(store, job)
        job.woken = ""
    unique = job.spec.unique
    if unique is not None and unique.scope is Scope.UNTIL_STARTED:
        holder = store.unique.get(unique.key)
        if holder is not None and holder.job_id == job.id:
            del store.unique[unique.key]
