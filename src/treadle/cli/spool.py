"""``treadle spool``: the jobs that wait in a file of this machine for their server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from treadle.cli.options import AppOption, Json, Url, Yes
from treadle.cli.output import Output
from treadle.cli.root import group
from treadle.cli.statuses import FAILURE, NOT_FOUND
from treadle.cli.stores import Store, core_for, on_store
from treadle.cli.times import iso, short, zone
from treadle.core import Core
from treadle.errors import InvalidOption
from treadle.spool import Entry, Spool, SpoolFile

__all__: list[str] = []

spool = group("spool", "Look at the jobs that wait in a spool for their server.")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of jobs.")]
All = Annotated[bool, typer.Option("--all", help="All jobs that the verb is for.")]
Refused = Annotated[bool, typer.Option("--refused", help="Only what the server has refused.")]


def _file(core: Core) -> SpoolFile:
    """The spool that is configured.

    Raises:
        InvalidOption: none is, or it has not been used.
    """
    path = core.settings.spool
    if path is None:
        raise InvalidOption(
            'no spool: name its file with TREADLE_SPOOL, with  spool = "spool.db"  in '
            "treadle.toml, or by --app, the app that has it",
            option="spool",
            value=None,
        )
    if not Path(path).exists():
        raise InvalidOption(
            f"there is no spool at {Path(path).absolute()}; it is made when an app first uses it",
            option="spool",
            value=path,
        )
    return SpoolFile(str(Path(path).absolute()))


@spool.command("list")
def list_spool(
    refused: Refused = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="At most so many, oldest first.")
    ] = 50,
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """List the jobs of the spool, oldest first. Asks no server. With --json one object a line."""
    core, out = core_for(url, app), Output(json=json)
    file = _file(core)
    try:
        found = file.entries(refused=True if refused else None, limit=limit)
    finally:
        file.close()
    if json:
        for one in found:
            out.data(_view(one))
        return
    if not found:
        out.line("nothing is in the spool")
        return
    now = core.clock.now()
    out.table(
        ["ID", "TASK", "QUEUE", f"ENQUEUED {zone(now)}", "FOR", "REFUSED"],
        [(one.id, one.task, one.queue, short(one.at, now), one.url, one.reason) for one in found],
    )


class _View(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    task: str
    queue: str
    url: str
    namespace: str
    enqueued: str | None
    # Whether it may have been accepted once.
    sent: bool
    refused: str | None


def _view(entry: Entry) -> _View:
    return _View(
        id=entry.id,
        task=entry.task,
        queue=entry.queue,
        url=entry.url,
        namespace=entry.namespace,
        enqueued=iso(entry.at),
        sent=entry.sent is not None,
        refused=entry.reason or None,
    )


@spool.command()
def forward(
    moved: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL", help="Also what waits for this URL, as 'list' shows it."
        ),
    ] = None,
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Forward now what waits for this store, and return when nothing does.

    Ends with status 69 when the store cannot be reached, with 1 when it refused something.
    """
    _file(core_for(url, app))

    async def work(store: Store) -> tuple[int, int]:
        lines = _own(store.core)
        if moved is not None:
            if len(lines) > 1:
                raise InvalidOption(
                    f"--from {moved}: this app has several servers, and which of them has a queue "
                    "its routes say; forward with an app that has one, or with --url",
                    option="--from",
                    value=moved,
                )
            lines[0].file.move(moved, lines[0].place)
        done = [await _forwarded(store, own) for own in lines]
        return sum(one for one, _ in done), sum(refused for _, refused in done)

    done, refused = on_store(work, url, app)
    out = Output(json=json)
    if json:
        out.data({"forwarded": done, "refused": refused})
    out.line(f"{done:,} jobs were forwarded, {refused:,} refused")
    if refused:
        raise typer.Exit(FAILURE)


async def _forwarded(store: Store, own: Spool) -> tuple[int, int]:
    done = refused = 0
    while own.waits():
        step = await own.forwarder.turn(own.ready or store.core.ready)
        if step is None:
            await store.clock.sleep(_LOOK_AGAIN)  # another process does it
        else:
            done, refused = done + step.forwarded, refused + step.refused
    return done, refused


_LOOK_AGAIN = 0.25


def _own(core: Core) -> Sequence[Spool]:
    """The spool of an app for its store, or one for each of them.

    Raises:
        InvalidOption: its store is no server.
    """
    if core.store.spool is None:
        raise InvalidOption(
            f"{core.url} is no server, so nothing waits for it in a spool",
            option="url",
            value=core.url,
        )
    return core.store.spool.parts


@spool.command()
def retry(
    ids: Ids = None,
    everything: All = False,
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Let jobs that the server has refused wait again, to be forwarded once more."""
    if not ids and not everything:
        raise InvalidOption("retry which jobs? Give ids, or --all", option="--all", value=False)
    file = _file(core_for(url, app))
    try:
        changed = file.again(ids or ())
    finally:
        file.close()
    _say("wait again", changed, ids, json=json)


@spool.command()
def drop(
    ids: Ids = None,
    refused: Refused = False,
    everything: All = False,
    yes: Yes = False,
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Remove jobs from the spool for ever. Nobody else has them."""
    if not ids and not everything and not refused:
        raise InvalidOption(
            "drop which jobs? Give ids, --refused, or --all", option="--all", value=False
        )
    file = _file(core_for(url, app))
    try:
        if not ids and not yes:
            _ask(len(file.entries(refused=True if refused else None)))
        dropped = file.drop(ids or (), refused=refused)
    finally:
        file.close()
    _say("were removed", dropped, ids, json=json)


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        raise InvalidOption(
            f"this would remove {count:,} jobs for ever; say --yes to do it",
            option="--yes",
            value=False,
        )
    typer.confirm(f"Remove {count:,} jobs for ever?", abort=True)


def _say(what: str, count: int, ids: list[str] | None, *, json: bool) -> None:
    out = Output(json=json)
    if json:
        out.data({"jobs": count})
    out.line(f"{count:,} jobs {what}")
    if ids and count < len(set(ids)):
        raise typer.Exit(NOT_FOUND)
