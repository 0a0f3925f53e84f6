"""What stands in the way of a job, one function per reason. Each looks at a scene and decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from shlex import quote

from treadle.records import At, In, JobRecord, JobState, Spend
from treadle.why.records import Blocker, Kind
from treadle.why.scene import SHOWN, Scene

__all__ = ["BLOCKERS", "moment"]

Show = Callable[[float], str]


def moment(timestamp: float, now: float) -> str:
    """A time as the distance from now: ``in 5 min``, ``12 s ago``."""
    ahead = timestamp - now
    seconds = abs(ahead)
    if ahead <= 0 and seconds < 1:
        return "just now"
    for size, unit in ((172800.0, "days"), (7200.0, "h"), (120.0, "min")):
        if seconds >= size:
            number = f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:.0f} {unit}"
            break
    else:
        number = f"{seconds:.0f} s"
    return f"in {number}" if ahead >= 0 else f"{number} ago"


def dependencies(scene: Scene) -> Iterator[Blocker]:
    """Jobs that must end first."""
    record = scene.record
    if record.state is not JobState.WAITING or not record.waits_for:
        return
    known = {one.id: one.state for one in scene.before}
    shown = record.waits_for[:SHOWN]
    listed = ", ".join(f"{one} ({known.get(one, 'not kept')})" for one in shown)
    more = f" and {len(record.waits_for) - SHOWN} more" if len(record.waits_for) > SHOWN else ""
    many = len(record.waits_for)
    yield Blocker(
        kind=Kind.DEPENDENCY,
        says=f"waits for {many} job{'s' if many > 1 else ''} to end: {listed}{more}",
        action=f"look at the first of them: treadle why {quote(shown[0])}",
        command=("why", shown[0]),
        jobs=shown,
    )


def line(scene: Scene) -> Iterator[Blocker]:
    """A full key, or a limit without a free slot."""
    record = scene.record
    what, _, name = record.reason.partition(":")
    if record.state is not JobState.WAITING or what not in {"key", "limit"}:
        return
    ids = tuple(one.id for one in scene.holders)
    who = ", ".join(
        f"{one.id} ({one.spec.task}, on {one.holder or 'a foreman'}"
        + (f", since {moment(one.started, scene.now)})" if one.started else ")")
        for one in scene.holders
    )
    if what == "key":
        says = f"its key {name!r} is held by {who}" if who else (
            f"its key {name!r} has a line, and jobs before it have not run"
        )  # fmt: skip
    else:
        says = f"all slots of the limit {name!r} are taken" + (f" by {who}" if who else "")
    first: tuple[str, ...] = ("why", ids[0]) if ids else ()
    yield Blocker(
        kind=Kind.KEY if what == "key" else Kind.LIMIT,
        says=says,
        action=f"it goes on when {'one of them' if len(ids) > 1 else 'that'} ends"
        + (f"; to end it now: treadle jobs cancel {quote(ids[0])}" if ids else ""),
        command=first,
        jobs=ids,
    )


def due(scene: Scene) -> Iterator[Blocker]:
    """A time that has not come: a schedule, a retry, the place that a rate has given."""
    record = scene.record
    if record.state is not JobState.SCHEDULED or record.due is None:
        return
    when = moment(record.due, scene.now)
    rates = _rates_ahead(record)
    if record.reason:
        says, kind = f"was set aside: {record.reason}; looked at again {when}", Kind.ASIDE
    elif record.tries:
        says, kind = f"{_last_attempt(record)}; the next is {when}", Kind.RETRY
    elif rates:
        says, kind = f"the rate {' and '.join(rates)} has a place for it {when}", Kind.RATE
    else:
        says, kind = f"is scheduled for a time {when}", Kind.SCHEDULED
    yield Blocker(kind=kind, says=says, action="wait", until=record.due)


def _last_attempt(record: JobRecord) -> str:
    last = record.attempts[-1] if record.attempts else None
    says = f"attempt {record.tries + record.crashes} ended"
    if last is None:
        return says
    fault = f" ({last.fault.type}: {last.fault.message})" if last.fault else ""
    return f"{says} with {last.cause}{fault}"


def _rates_ahead(record: JobRecord) -> list[str]:
    """The rates that put off a job, which was due before."""
    match record.spec.due:
        case In(seconds=seconds):
            asked = record.created + seconds
        case At(timestamp=asked):
            pass
        case None:
            asked = record.created
    if record.due is None or record.due <= asked:
        return []
    return [repr(ask.key) for ask in record.spec.asks if isinstance(ask, Spend)]


def paused(scene: Scene) -> Iterator[Blocker]:
    """A pause of its queue, or of one above it."""
    for name, rule in scene.rules.items():
        if not rule.paused or (rule.until is not None and rule.until <= scene.now):
            continue
        since = f" {moment(rule.since, scene.now)}" if rule.since else ""
        by = f" by {rule.by}" if rule.by else ""
        reason = f": {rule.reason}" if rule.reason else ""
        until = f"; ends {moment(rule.until, scene.now)}" if rule.until else ""
        yield Blocker(
            kind=Kind.PAUSED,
            says=f"queue {name!r} was paused{since}{by}{reason}{until}",
            action=f"treadle queues resume {quote(name)}",
            command=("queues", "resume", name),
            until=rule.until,
        )


def full(scene: Scene) -> Iterator[Blocker]:
    """A bound on the running jobs of its queue."""
    for name, rule in scene.rules.items():
        running = sum(
            states.get(JobState.RUNNING, 0)
            for queue, states in scene.counts.items()
            if queue == name or queue.startswith(f"{name}.")
        )
        if rule.max_running is not None and running >= rule.max_running:
            yield Blocker(
                kind=Kind.FULL,
                says=f"queue {name!r} runs {running} jobs, and may run {rule.max_running}",
                action="it goes on when one of them ends",
            )


def unserved(scene: Scene) -> Iterator[Blocker]:
    """No foreman for its queue, or none that knows its task."""
    spec = scene.record.spec
    if not scene.serving:
        others = ", ".join(f"{one.name} serves {','.join(one.queues)}" for one in scene.foremen[:5])
        yield Blocker(
            kind=Kind.NO_FOREMAN,
            says=f"no foreman serves queue {spec.queue!r}"
            + (f" ({others})" if others else ": none is running"),
            action=f"start one: treadle run APP -q {quote(spec.queue)}",
        )
        return
    if not any(spec.task in one.tasks for one in scene.serving):
        names = ", ".join(one.name for one in scene.serving[:5])
        yield Blocker(
            kind=Kind.UNKNOWN_TASK,
            says=f"no foreman that serves queue {spec.queue!r} knows the task {spec.task!r}"
            f" (there: {names})",
            action="start a foreman with an app that has this task; a deploy may be under way",
        )


def suspect(scene: Scene) -> Iterator[Blocker]:
    """A job that may have killed a foreman."""
    if scene.record.suspect and scene.record.state is not JobState.RUNNING:
        yield Blocker(
            kind=Kind.SUSPECT,
            says="a foreman died while it held this job, so it must run alone",
            action="it runs as soon as a foreman holds nothing else",
        )


BLOCKERS: tuple[Callable[[Scene], Iterator[Blocker]], ...] = (
    dependencies,
    line,
    due,
    paused,
    full,
    unserved,
    suspect,
)
"""In the order in which they must be cleared."""
