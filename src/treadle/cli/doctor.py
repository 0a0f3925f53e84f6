"""``treadle doctor``: is the store well, and is everything served?"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from treadle.cli.checks import Finding, Level
from treadle.cli.checks_routed import examine_all
from treadle.cli.checks_spool import of_spool
from treadle.cli.options import AppOption, Json, Url
from treadle.cli.output import Output
from treadle.cli.root import root
from treadle.cli.statuses import FAILURE, status_of
from treadle.cli.stores import core_for, on_store
from treadle.config import mask
from treadle.errors import InvalidOption, TreadleError

__all__: list[str] = []

_STYLES = {Level.OK: "", Level.WARN: "yellow", Level.FAIL: "red"}


@root.command()
def doctor(
    where: Annotated[str | None, typer.Argument(metavar="URL", help="The store; as --url.")] = None,
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Check the store, the foremen, and that every job is served. Changes nothing.

    Ends with status 1 when something fails, with 69 when the store cannot be reached.
    """
    out = Output(json=json)
    status = 0
    try:
        findings, status = on_store(examine_all, url or where, app, opened=False)
    except TreadleError as error:
        findings = [Finding(level=Level.FAIL, check="store", says=mask(str(error)))]
        status = status_of(error)
    with suppress(InvalidOption):  # said above
        findings += of_spool(core_for(url or where, app))
    if any(one.level is Level.FAIL for one in findings):
        status = status or FAILURE
    if json:
        out.data({"well": status == 0, "findings": findings})
    for one in findings:
        out.text(f"{one.level:4}  {one.check}: {one.says}", style=_STYLES[one.level])
        if one.action:
            out.line(f"      → {one.action}")
    if status:
        raise typer.Exit(status)
