"""``treadle enqueue``: make a job from the command line."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from treadle.cli.apps import check_shared, name_of, the_app
from treadle.cli.options import Json, Url
from treadle.cli.output import Output
from treadle.cli.root import root
from treadle.cli.views import plain
from treadle.cli.words import arguments
from treadle.config import Settings, load
from treadle.core import Core
from treadle.durations import seconds
from treadle.errors import InvalidOption, UnknownTask
from treadle.job import Job
from treadle.task import Task

__all__: list[str] = []


Words = Annotated[
    list[str],
    typer.Argument(
        metavar="APP TASK ARGUMENT",
        help="The app (unless configured), the task, its arguments: JSON or text, in order or "
        "as name=value.",
    ),
]
Kwargs = Annotated[str | None, typer.Option("--kwargs", metavar="JSON", help="Arguments by name.")]
Queue = Annotated[str | None, typer.Option("--queue", "-q", metavar="NAME")]
Priority = Annotated[int | None, typer.Option("--priority", help="Larger is sooner.")]
Delay = Annotated[
    str | None, typer.Option("--delay", metavar="TIME", help="Not before 30s, 5m, 2h from now.")
]
RunAt = Annotated[
    str | None, typer.Option("--run-at", metavar="TIME", help="Not before this time, in ISO 8601.")
]
Retry = Annotated[int | None, typer.Option("--retry", help="Further attempts.")]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="Of each attempt.")]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help="Not started by then: it fails.")
]
Key = Annotated[str | None, typer.Option("--key", help="One job of a key runs at a time.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Can be given again.")]
JobId = Annotated[str | None, typer.Option("--id", metavar="ID", help="Of the job.")]
WaitForIt = Annotated[bool, typer.Option("--wait", "-w", help="Print the result.")]
Patience = Annotated[
    str | None,
    typer.Option("--wait-timeout", metavar="TIME", help="Wait no longer; the job goes on."),
]


@root.command()
def enqueue(
    words: Words,
    kwargs: Kwargs = None,
    queue: Queue = None,
    priority: Priority = None,
    delay: Delay = None,
    run_at: RunAt = None,
    retry: Retry = None,
    timeout: Timeout = None,
    expires: Expires = None,
    key: Key = None,
    tag: Tags = None,
    job_id: JobId = None,
    wait: WaitForIt = False,
    wait_timeout: Patience = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Enqueue a job and print its id; with --wait, wait for its result and print that."""
    settings = load(url=url)
    app, name, rest = _split(words, settings)
    core = the_app(app)
    if url is not None:
        core.store = core.store_at(url)
    check_shared(core, app, "the job would end with this command")
    options = {
        "queue": queue,
        "priority": priority,
        "delay": delay,
        "run_at": _time(run_at),
        "retry": retry,
        "timeout": timeout,
        "expires": expires,
        "key": key,
        "tags": tag,
        "id": job_id,
    }
    given: dict[str, Any] = {
        option: value for option, value in options.items() if value is not None
    }
    task = _task(core, name)
    args, named = arguments(task, rest, kwargs)
    patience = seconds(wait_timeout, "--wait-timeout") if wait_timeout is not None else None
    out = Output(json=json)

    async def work() -> None:
        try:
            job = await (task.options(**given) if given else task).aenqueue(*args, **named)
            result = await job.aresult(patience) if wait else None
            _say(out, task, job, result, wait=wait)
        finally:
            await core.aclose()

    asyncio.run(work())


def _split(words: list[str], settings: Settings) -> tuple[str, str, list[str]]:
    """The app, the task and its arguments. The app may be left out when it is configured."""
    first = words[0]
    if ":" in first or first.endswith(".py") or settings.app is None:
        if len(words) < 2 and (":" in first or first.endswith(".py")):
            raise InvalidOption(
                f"which task? Name it after the app: treadle enqueue {first} TASK",
                option="TASK",
                value=None,
            )
        if ":" not in first and not first.endswith(".py"):
            name_of(None, settings)  # says how to name one
        return first, words[1], words[2:]
    return name_of(None, settings), first, words[1:]


def _task(core: Core, name: str) -> Task[Any, Any]:
    """The task of a name; its last parts will do when only one task has them."""
    short = [full for full in core.tasks if full.endswith(f".{name}")]
    if name not in core.tasks and len(short) > 1:
        raise UnknownTask(
            f"several tasks are called {name!r}: {', '.join(short)}; write one of them in full",
            task=name,
            known=tuple(short),
        )
    return core.task_of(short[0] if name not in core.tasks and short else name)


def _time(text: str | None) -> datetime | None:
    """A time; without a zone it is local, because a person wrote it here."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise InvalidOption(
            f"--run-at: {text!r} is not a time such as 2030-01-31T09:00 or 2030-01-31T09:00Z",
            option="--run-at",
            value=text,
        ) from None


def _say(out: Output, task: Task[Any, Any], job: Job[Any], result: Any, *, wait: bool) -> None:
    if out.json:
        view = {
            "id": job.id,
            "task": task.name,
            "created": job.created,
            "duplicate_of": job.duplicate_of,
        }
        if wait:
            view["result"] = _printable(result)
        out.data(view)
    elif wait:
        out.line(
            result if isinstance(result, str) else msgspec.json.encode(_printable(result)).decode()
        )
    else:
        out.line(job.id)
        if job.duplicate_of is not None:
            sys.stderr.write("another job holds its unique key; this is the id of that job\n")


def _printable(result: Any) -> Any:
    """A result as JSON has it; what JSON has not becomes text."""
    try:
        return msgspec.to_builtins(result)
    except (TypeError, msgspec.ValidationError):
        return plain(result)
