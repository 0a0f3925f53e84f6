"""``treadle run``: a foreman, or several under a supervisor, as the purpose of this process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from treadle.cli.apps import check_shared, name_of, the_app
from treadle.cli.options import App, Queues, Url
from treadle.cli.output import complain
from treadle.cli.root import root
from treadle.config import Settings, load
from treadle.core import Core
from treadle.logs import configure

__all__ = ["LogFormat", "LogLevel", "configured", "split"]

_CAN_TURN = os.name == "posix"

Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", "-x", metavar="NAMES", help="Queues not to serve: a,b."),
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", "-c", help="Jobs at a time, per process.")
]
Lease = Annotated[
    str | None,
    typer.Option("--lease", metavar="TIME", help="How long a silent foreman keeps its jobs."),
]
Grace = Annotated[
    str | None,
    typer.Option("--grace", metavar="TIME", help="How long running jobs may go on when stopping."),
]
LogLevel = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning, error or critical."),
]
LogFormat = Annotated[
    str | None, typer.Option("--log-format", metavar="FORMAT", help="console or json.")
]


@root.command()
def run(
    app: App = None,
    queues: Queues = None,
    exclude: Exclude = None,
    concurrency: Concurrency = None,
    processes: Annotated[
        int | None, typer.Option("--processes", "-p", help="Foreman processes to keep alive.")
    ] = None,
    burst: Annotated[
        bool, typer.Option("--burst", help="Stop when there is nothing left to do.")
    ] = False,
    max_jobs: Annotated[
        int | None, typer.Option("--max-jobs", help="Replace a process after so many jobs.")
    ] = None,
    max_rss: Annotated[
        str | None,
        typer.Option("--max-rss", metavar="SIZE", help="Replace a process above, say, 512MiB."),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", metavar="TIME", help="Replace a process after, say, 6h."),
    ] = None,
    lease: Lease = None,
    grace: Grace = None,
    url: Url = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run the jobs of an app until a signal stops it.

    SIGTERM and Ctrl+C stop in good order: no new jobs, the running ones have the grace, the
    rest is given back. A second signal leaves at once.
    """
    settings = load(
        url=url,
        log={"level": log_level, "format": log_format},
        foreman={
            "queues": split(queues),
            "exclude": split(exclude),
            "concurrency": concurrency,
            "processes": processes,
            "max_jobs": max_jobs,
            "max_rss": max_rss,
            "max_age": max_age,
            "lease": lease,
            "grace": grace,
        },
    )
    name = name_of(app, settings)
    core = configured(name, settings, url)
    foreman = settings.foreman
    options = given(settings)
    renewed = (foreman.max_jobs, foreman.max_rss, foreman.max_age) != (None, None, None)
    if foreman.processes > 1 or (renewed and not burst):
        status = asyncio.run(_supervised(core, name, settings, url, burst=burst, options=options))
    elif burst or not _CAN_TURN:
        status = asyncio.run(_alone(core, burst=burst, options=options))
    else:
        _turn_into_a_foreman(name, settings, url, options)
    raise typer.Exit(status)


def split(names: list[str] | None) -> list[str] | None:
    """Names from options that may be given again and may hold several: ``-q a,b -q c``."""
    if names is None:
        return None
    return [name.strip() for part in names for name in part.split(",") if name.strip()]


def given(settings: Settings) -> dict[str, Any]:
    """The foreman options that somebody set, to go over those of the app."""
    names = [name.removeprefix("foreman.") for name in settings.sources if "foreman." in name]
    return {name: getattr(settings.foreman, name) for name in names if name != "processes"}


def configured(name: str, settings: Settings, url: str | None, *, alone: bool = False) -> Core:
    """The core of the app, with the URL that was asked for, and logging set up.

    Raises:
        InvalidOption: the store is inside one process, so that nobody could enqueue.
    """
    configure(level=settings.log.level, layout=settings.log.format)
    core = the_app(name)
    if url is not None:
        core.store = core.store_at(url)
    if not alone:
        check_shared(core, name, "no other program could enqueue one here")
    if not core.tasks:
        complain(f"warning: app {name!r} has no tasks; import the modules that declare them")
    return core


def _turn_into_a_foreman(
    name: str, settings: Settings, url: str | None, options: dict[str, Any]
) -> NoReturn:
    """Go on as a foreman process, without what the command line has loaded."""
    import msgspec

    from treadle.foreman.child import Orders

    orders = Orders(
        target=name,
        url=url,
        options=options,
        log_level=settings.log.level,
        log_format=settings.log.format,
    )
    outlet, inlet = os.pipe()
    os.write(inlet, msgspec.json.encode(orders) + b"\n")
    os.close(inlet)
    os.dup2(outlet, 0)
    sys.stdout.flush()
    sys.stderr.flush()
    # Ctrl+C has to wait until the new program can hear it, which is when it is loaded.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    # The words after the module are for those who look for the process.
    os.execv(sys.executable, [sys.executable, "-m", "treadle.foreman.child", "run", name])


async def _alone(core: Core, *, burst: bool, options: dict[str, Any]) -> int:
    from treadle.foreman.serve import RECYCLED, serve

    try:
        status = await serve(core, burst=burst, **options)
        return 0 if status == RECYCLED else status
    finally:
        await core.aclose()


async def _supervised(
    core: Core,
    name: str,
    settings: Settings,
    url: str | None,
    *,
    burst: bool,
    options: dict[str, Any],
) -> int:
    from treadle.foreman.supervisor import Supervisor

    supervisor = Supervisor(
        core,
        name,
        processes=settings.foreman.processes,
        burst=burst,
        url=url,
        log_level=settings.log.level,
        log_format=settings.log.format,
        **options,
    )
    try:
        return await supervisor.run()
    finally:
        await core.aclose()
