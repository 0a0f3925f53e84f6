"""``treadle queues``: list, pause, resume, limit, purge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from treadle.cli import filters
from treadle.cli.bulk import Verb, change
from treadle.cli.filters import Filter
from treadle.cli.options import AppOption, DryRun, Json, Url, Yes
from treadle.cli.output import Output, complain
from treadle.cli.root import group
from treadle.cli.stores import Store, on_store
from treadle.cli.times import iso, local
from treadle.errors import InvalidOption
from treadle.hints import did_you_mean
from treadle.ports import Delete, Query, QueueRule
from treadle.queuenames import Matcher, check_queue, covers
from treadle.queues import Queue
from treadle.records import JobState, SessionInfo
from treadle.why import foremen, rules

__all__: list[str] = []

queues = group("queues", "Look at queues, pause, limit and empty them.")
Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue, with those below it.")]
_IDLE = (JobState.WAITING, JobState.SCHEDULED, JobState.QUEUED)


@queues.command("list")
def list_queues(url: Url = None, app: AppOption = None, json: Json = False) -> None:
    """List the queues with their jobs by state, pauses, and the foremen that serve them."""
    out = Output(json=json)

    async def work(store: Store) -> list[dict[str, Any]]:
        page = await store.backend.find(Query(limit=1, counts=True))
        ruled = await rules(store.backend, ("*",))
        present = await foremen(store.backend, store.clock)
        names = sorted({*page.counts, *ruled})
        now = store.clock.now()
        return [_view(name, page.counts.get(name, {}), ruled, present, now) for name in names]

    views = on_store(work, url, app)
    if json:
        out.data(views)
    elif not views:
        out.line("no queues: nothing has been enqueued")
    else:
        out.table(
            ["queue", *JobState, "limit", "foremen", "paused"],
            [
                (one["queue"], *(f"{one['jobs'][state]:,}" for state in JobState),
                 one["max_running"] or "-", len(one["foremen"]), _pause(one))
                for one in views
            ],
        )  # fmt: skip


def _view(
    name: str,
    counts: Mapping[JobState, int],
    ruled: Mapping[str, QueueRule],
    present: tuple[SessionInfo, ...],
    now: float,
) -> dict[str, Any]:
    paused = [
        (ruler, rule)
        for ruler, rule in sorted(ruled.items(), reverse=True)
        if covers(ruler, name) and rule.paused and (rule.until is None or rule.until > now)
    ]
    by, rule = paused[0] if paused else (None, QueueRule())
    own = ruled.get(name, QueueRule())
    return {
        "queue": name,
        "jobs": {state: counts.get(state, 0) for state in JobState},
        "paused": bool(paused),
        # The queue whose pause holds: this one or one above it.
        "paused_by_queue": by,
        "paused_by": rule.by or None,
        "paused_reason": rule.reason or None,
        "paused_since": iso(rule.since),
        "paused_until": iso(rule.until),
        "max_running": own.max_running,
        "foremen": [
            one.name for one in present if Matcher(one.queues, one.exclude).place(name) is not None
        ],
    }


def _pause(view: dict[str, Any]) -> str:
    if not view["paused"]:
        return "-"
    above = f"with {view['paused_by_queue']}" if view["paused_by_queue"] != view["queue"] else "yes"
    by = f", by {view['paused_by']}" if view["paused_by"] else ""
    return above + by + (f": {view['paused_reason']}" if view["paused_reason"] else "")


@queues.command("pause")
def pause(
    queue: Name,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Shown by `why` and lists.")] = "",
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Resume by itself after 30m, 2h.")
    ] = None,
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Stop handing out the jobs of a queue. Running jobs go on; new ones are accepted."""
    out = Output(json=json)
    check_queue(queue)

    async def work(store: Store) -> tuple[QueueRule, set[str]]:
        page = await store.backend.find(Query(limit=1, counts=True))
        declared = {task.options.queue for task in store.core.tasks.values()}
        rule = await Queue(store.core, queue).apause(reason, for_=lasting)
        return rule, {*page.counts, *declared}

    rule, known = on_store(work, url, app)
    if not any(covers(queue, name) or covers(name, queue) for name in known):
        hint = did_you_mean(queue, known)
        complain(f"warning: nothing is known of a queue {queue!r}: no job is in it{hint}")
    if json:
        out.data({"queue": queue, "paused": True, "paused_until": iso(rule.until)})
    until = f" until {local(rule.until)}" if rule.until else ""
    out.line(f"queue {queue!r} is paused{until}; running jobs go on")


@queues.command("resume")
def resume(queue: Name, url: Url = None, app: AppOption = None, json: Json = False) -> None:
    """Hand out the jobs of a queue again."""
    out = Output(json=json)
    check_queue(queue)

    async def work(store: Store) -> list[str]:
        await Queue(store.core, queue).aresume()
        now = store.clock.now()
        return [
            name
            for name, rule in (await rules(store.backend, ("*",))).items()
            if name != queue
            and covers(name, queue)
            and rule.paused
            and (rule.until is None or rule.until > now)
        ]

    above = on_store(work, url, app)
    if json:
        out.data({"queue": queue, "paused": bool(above), "paused_with": above})
    if above:
        out.line(f"queue {queue!r} is resumed, but still paused with {', '.join(above)}")
    else:
        out.line(f"queue {queue!r} is resumed")


@queues.command("limit")
def limit(
    queue: Name,
    most: Annotated[
        str, typer.Argument(metavar="N|none", help="Jobs that may run at a time; none lifts it.")
    ],
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Let at most so many jobs of a queue run at a time, in all foremen together."""
    out = Output(json=json)
    check_queue(queue)
    number = _number(most)

    async def work(store: Store) -> QueueRule:
        return await Queue(store.core, queue).alimit(number)

    rule = on_store(work, url, app)
    if json:
        out.data({"queue": queue, "max_running": rule.max_running})
    if rule.max_running is None:
        out.line(f"queue {queue!r} has no limit")
    else:
        out.line(f"queue {queue!r} runs at most {rule.max_running:,} at a time")


def _number(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isascii() or not text.isdigit():
        raise InvalidOption(
            f"{text!r} is not a number of jobs from 1, nor 'none', which lifts the limit",
            option="most",
            value=text,
        )
    return int(text)


@queues.command("purge")
def purge(
    queue: Name,
    state: filters.State = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Delete the jobs of a queue. Without --state: those that wait, are scheduled or queued."""
    check_queue(queue)
    out = Output(json=json)
    verb = Verb(name="delete", past="deleted", change=Delete(), states=_IDLE)
    which = Filter(queue=queue, state=state)
    on_store(lambda store: change(store, out, verb, which, yes=yes, dry_run=dry_run), url, app)
