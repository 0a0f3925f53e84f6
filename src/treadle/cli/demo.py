"""``treadle demo``: the library at work on real input, on this machine, now."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from treadle.cli.options import Json, Url
from treadle.cli.output import Output
from treadle.cli.program import command
from treadle.cli.root import root
from treadle.cli.statuses import FAILURE, INTERRUPTED
from treadle.config import mask

if TYPE_CHECKING:
    from treadle.cli.stage import Stage
    from treadle.core import Core
    from treadle.demo.results import Results
    from treadle.demo.story import Plan, Story

__all__: list[str] = []


@root.command()
def demo(
    crash: Annotated[
        bool, typer.Option("--crash", help="Kill foreman processes (kill -9) on the way.")
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, help="Foreman processes.")
    ] = 2,
    files: Annotated[
        int | None, typer.Option("--files", min=10, help="Measure no more files than this.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Measure the functions of every file of the standard library, one job a file.

    The jobs live in an SQLite file in a temporary directory, or in the store of --url.
    """
    from treadle.cli.stage import Stage
    from treadle.demo.inputs import find
    from treadle.demo.story import Plan, Story
    from treadle.demo.tasks import app

    out = Output(json=json)
    directory = Path(tempfile.mkdtemp(prefix="treadle-demo-"))
    core = app.core
    # A store of others may have jobs of an earlier demo.
    queue = f"demo.{core.ids.new()[-8:]}" if url else "demo"
    core.store = core.store_at(url or f"sqlite:///{quote(str(directory))}/jobs.db")
    plan = Plan(
        inputs=find(directory, files),
        directory=directory,
        queue=queue,
        processes=processes,
        crash=crash,
    )
    out.text(
        f"Measuring {plan.inputs.describe()}, one job each, with {processes} foreman processes."
    )
    out.line(f"store      {mask(core.url)}")
    out.line(f"directory  {directory}")
    stage = Stage(out)
    story = Story(core, plan, stage)
    try:
        results = asyncio.run(_played(core, story, stage))
    except KeyboardInterrupt:
        _interrupted(out, core, plan)
        raise typer.Exit(INTERRUPTED) from None
    if json:
        out.data(_view(core, plan, story, results))
    else:
        _tell(out, core, plan, story, results)
    if not _right(plan, results):
        raise typer.Exit(FAILURE)


async def _played(core: Core, story: Story, stage: Stage) -> Results:
    try:
        with stage:
            return await story.run()
    finally:
        await core.aclose()


def _right(plan: Plan, results: Results) -> bool:
    """Whether every file was counted exactly once."""
    counted = results.succeeded + len(results.failures)
    return not results.miscounted and not results.unfinished and counted == len(plan.inputs.files)


def _tell(out: Output, core: Core, plan: Plan, story: Story, results: Results) -> None:
    out.line()
    out.line(f"{results.functions:,} functions, {results.lines:,} lines, "
             f"{results.branches:,} branches. The most complex functions:")  # fmt: skip
    out.line()
    out.table(
        ["complexity", "branches", "lines", "function"],
        [
            (one.function.complexity, one.function.branches, one.function.lines,
             f"{one.function.name}  {_short(one.path)}:{one.function.line}")
            for one in results.top
        ],
    )  # fmt: skip
    out.line()
    _failures(out, results)
    _count(out, plan, story, results)
    out.line()
    out.line("To look further:")
    for line in _commands(core, plan, results):
        out.line(f"  {line}")


def _failures(out: Output, results: Results) -> None:
    out.line(f"{len(results.failures)} files could not be parsed; they are failed jobs:")
    out.line()
    out.table(["file", "why"], [(_short(one.path), one.error) for one in results.failures])
    out.line()


def _count(out: Output, plan: Plan, story: Story, results: Results) -> None:
    total = len(plan.inputs.files)
    if _right(plan, results):
        out.text(
            f"{total:,} files, {total:,} jobs: every file was counted exactly once "
            f"({results.succeeded:,} measured, {len(results.failures)} failed).",
        )
    else:
        out.text(
            f"WRONG: {total:,} files, {results.succeeded:,} measured, {len(results.failures)} "
            f"failed, {results.unfinished} unfinished; miscounted: "
            + (", ".join(map(str, results.miscounted)) or "none")
        )
    if not plan.crash:
        return
    out.text(
        f"{len(story.victims)} foreman processes were killed. {len(results.twice)} jobs were "
        "started again, as the ledger of the attempts says; none of them was counted twice:"
    )
    out.line()
    out.table(
        ["job", "started", "ended", "file"],
        [(one.job, one.started, one.ended, _short(one.path)) for one in results.twice],
    )


def _commands(core: Core, plan: Plan, results: Results) -> list[str]:
    url = ("--url", mask(core.url))
    job = results.failures[0].job if results.failures else None
    lines = [
        command("jobs", "list", "--state", "failed", "--queue", plan.queue, *url),
        command("queues", "list", *url),
        command("doctor", mask(core.url)),
    ]
    if job is not None:
        lines[1:1] = [command("jobs", "show", job, *url), command("why", job, *url)]
    return lines


def _interrupted(out: Output, core: Core, plan: Plan) -> None:
    out.line()
    out.line("Stopped; the foremen have given back what they had begun. To go on:")
    url = ("--url", mask(core.url))
    out.line(
        f"  {command('run', 'treadle.demo.tasks:app', *url, '--queues', plan.queue, '--burst')}"
    )
    out.line(f"  {command('queues', 'list', *url)}")


def _short(path: Path) -> str:
    """The path from the directory of the library, where it is in there."""
    parts = path.parts
    for at in range(len(parts) - 1, 0, -1):
        if parts[at].startswith("python3") or parts[at] in {"site-packages", "dist-packages"}:
            return str(Path(*parts[at + 1 :]))
    return str(path)


def _view(core: Core, plan: Plan, story: Story, results: Results) -> dict[str, Any]:
    return {
        "url": mask(core.url),
        "queue": plan.queue,
        "directory": str(plan.directory),
        "files": len(plan.inputs.files),
        "added": [str(one) for one in plan.inputs.added],
        "measured": results.succeeded,
        "unfinished": results.unfinished,
        "lines": results.lines,
        "functions": results.functions,
        "branches": results.branches,
        "counted_once": _right(plan, results),
        "killed": [{"pid": one.pid, "jobs": one.jobs} for one in story.victims],
        "twice": [
            {"job": one.job, "path": str(one.path), "started": one.started, "ended": one.ended}
            for one in results.twice
        ],
        "failed": [
            {"job": one.job, "path": str(one.path), "error": one.error}
            for one in results.failures
        ],
        "top": [
            {"path": str(one.path), "function": one.function.name, "line": one.function.line,
             "lines": one.function.lines, "branches": one.function.branches,
             "complexity": one.function.complexity}
            for one in results.top
        ],
    }  # fmt: skip
