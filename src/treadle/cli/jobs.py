"""``treadle jobs``: list, show, retry, cancel, delete."""

from __future__ import annotations

from shlex import quote
from typing import Annotated, Any

import msgspec
import typer

from treadle.cli import filters
from treadle.cli.bulk import Verb, change
from treadle.cli.filters import Filter, found
from treadle.cli.options import AppOption, DryRun, Json, Url, Yes
from treadle.cli.output import Output
from treadle.cli.root import group
from treadle.cli.stores import Store, on_store
from treadle.cli.times import local, zone
from treadle.cli.views import attempt, brief, detail, moment, remark
from treadle.errors import JobNotFound
from treadle.ports import Cancel, Delete, Query, Retry
from treadle.records import FINAL, JobRecord, JobState
from treadle.why import missing

__all__: list[str] = []

jobs = group("jobs", "Look at jobs and change them.")
_WIDE = 110  # columns of a terminal that has room for remarks
_ALIVE = (JobState.WAITING, JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING)

Everything = Annotated[bool, typer.Option("--all", help="All jobs that the verb is for.")]


@jobs.command("list")
def list_jobs(
    state: filters.State = None,
    task: filters.TaskName = None,
    queue: filters.QueueName = None,
    older_than: filters.OlderThan = None,
    newer_than: filters.NewerThan = None,
    tag: filters.Tag = None,
    key: filters.Key = None,
    error: filters.Error = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="At most so many, newest first.")
    ] = 50,
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """List jobs, newest first. With --json one object a line."""
    which = Filter(
        state=state,
        task=task,
        queue=queue,
        older_than=older_than,
        newer_than=newer_than,
        tag=tag,
        key=key,
        error=error,
    )
    out = Output(json=json)

    async def work(store: Store) -> None:
        query = which.query(store.clock.now())
        if json:
            async for record in found(store, query, limit):
                out.data(brief(record))
            return
        records = [record async for record in found(store, query, limit)]
        _print(out, records, store.clock.now())
        if len(records) == limit and out.lively:
            out.line(f"the newest {limit} are shown; --limit shows more")

    on_store(work, url, app)


def _print(out: Output, records: list[JobRecord], now: float) -> None:
    if not records:
        out.line("no jobs found")
        return
    if not out.lively:
        columns = ["id", "state", "task", "queue", "created", "finished", "attempt", "remark"]
        rows: list[list[Any]] = [
            [one.id, one.state, one.spec.task, one.spec.queue, local(one.created),
             local(one.finished) or "-", attempt(one), remark(one) or "-"]
            for one in records
        ]  # fmt: skip
    else:
        wide = out.console.width >= _WIDE
        columns = ["id", "state", f"when ({zone(now)})", "task"] + (["remark"] if wide else [])
        rows = [
            [one.id, one.state, moment(one, now), one.spec.task] + ([remark(one)] if wide else [])
            for one in records
        ]
    out.table(columns, rows)


@jobs.command("show")
def show(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")],
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Show a job: its times, arguments, result, attempts, error with traceback."""
    out = Output(json=json)

    async def work(store: Store) -> None:
        page = await store.backend.find(Query(ids=(job,)))
        if not page.records:
            raise JobNotFound(missing(job, page.gone.get(job)), job_id=job)
        view = detail(page.records[0], store.core.codec)
        if json:
            out.data(view)
        else:
            _show(out, page.records[0], view, store)

    on_store(work, url, app)


def _show(out: Output, record: JobRecord, view: dict[str, Any], store: Store) -> None:
    out.facts(_facts(record, view))
    for one in record.attempts:
        fault = one.fault
        error = f": {fault.type}: {fault.message}" if fault else ""
        out.text(
            f"attempt {one.number} ended {local(one.ended)} on {one.holder or '?'}, "
            f"{one.cause}{error}"
        )
    if record.fault is not None and record.fault.traceback:
        out.line()
        out.line(record.fault.traceback.rstrip())
    if record.state not in FINAL:
        out.line(f"why it is {record.state}: treadle why {quote(record.id)}{store.suffix}")


def _facts(record: JobRecord, view: dict[str, Any]) -> list[tuple[str, Any]]:
    error = record.fault
    progress = view["progress"]
    return [
        ("job", record.id),
        ("task", record.spec.task),
        ("queue", record.spec.queue),
        ("state", f"{record.state} ({record.cause})" if record.cause else record.state),
        ("reason", record.reason),
        ("arguments", _json(view["arguments"])),
        ("result", _json(view["result"]) if record.result is not None else None),
        ("skipped", record.skipped),
        ("priority", record.priority),
        ("tries", record.tries),
        ("crashes", record.crashes),
        ("created", local(record.created)),
        ("due", local(record.due)),
        ("expires", local(record.expires)),
        ("started", local(record.started)),
        ("finished", local(record.finished)),
        ("on", record.holder),
        ("lease until", local(record.lease_until)),
        ("progress", _json(progress) if progress else None),
        ("parent", record.spec.parent),
        ("key", record.spec.key),
        ("unique", view["unique"]),
        ("flow", record.spec.flow),
        ("waits for", ", ".join(record.waits_for)),
        ("tags", ", ".join(record.spec.tags)),
        ("meta", _json(view["meta"]) if view["meta"] else None),
        ("error", f"{error.type}: {error.message}" if error else None),
    ]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_RETRY = Verb(name="retry", past="retried", change=Retry(), states=(JobState.FAILED,))
_CANCEL = Verb(name="cancel", past="cancelled", change=Cancel(), states=_ALIVE)
_DELETE = Verb(name="delete", past="deleted", change=Delete(), states=tuple(sorted(FINAL)))


def _bulk_command(verb: Verb, text: str) -> None:
    @jobs.command(verb.name, help=text)
    def command(
        ids: filters.Ids = None,
        state: filters.State = None,
        task: filters.TaskName = None,
        queue: filters.QueueName = None,
        older_than: filters.OlderThan = None,
        newer_than: filters.NewerThan = None,
        tag: filters.Tag = None,
        key: filters.Key = None,
        error: filters.Error = None,
        everything: Everything = False,
        yes: Yes = False,
        dry_run: DryRun = False,
        url: Url = None,
        app: AppOption = None,
        json: Json = False,
    ) -> None:
        which = Filter(
            ids=ids,
            state=state,
            task=task,
            queue=queue,
            older_than=older_than,
            newer_than=newer_than,
            tag=tag,
            key=key,
            error=error,
            everything=everything,
        )
        out = Output(json=json)
        on_store(lambda store: change(store, out, verb, which, yes=yes, dry_run=dry_run), url, app)


_bulk_command(_RETRY, "Queue failed or cancelled jobs again. Without --state: failed ones.")
_bulk_command(_CANCEL, "Cancel jobs. Running ones are asked to stop.")
_bulk_command(_DELETE, "Delete jobs. Without ids or --state: those that have ended.")
