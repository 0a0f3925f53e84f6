"""Options that several commands share, as annotations."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["App", "AppOption", "DryRun", "Json", "Queues", "Url", "Yes"]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The store, such as sqlite:///jobs.db. Default: TREADLE_URL, treadle.toml, the app's.",
    ),
]
App = Annotated[
    str | None,
    typer.Argument(
        metavar="APP",
        help="The app, as module:attribute or path/to/file.py:attribute. "
        "May be left out when configured (app = ... in treadle.toml, TREADLE_APP).",
    ),
]
AppOption = Annotated[
    str | None,
    typer.Option("--app", "-a", metavar="APP", help="Use the store of this app."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queues",
        "-q",
        metavar="NAMES",
        help="Queues to serve, in order of preference: a,b or with weights a:5,b. "
        "Can be given again.",
    ),
]
