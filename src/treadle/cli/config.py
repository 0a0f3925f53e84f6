"""``treadle config``: every setting with its origin."""

from __future__ import annotations

from typing import Any, cast

from treadle.cli.options import Json, Url
from treadle.cli.output import Output
from treadle.cli.root import root
from treadle.config import load, origins

__all__: list[str] = []


@root.command()
def config(url: Url = None, json: Json = False) -> None:
    """Print every setting, its value and where it comes from."""
    out = Output(json=json)
    found = origins(load(url=url))
    if json:
        out.data({one.name: {"value": one.value, "origin": one.origin} for one in found})
    out.table(
        ["setting", "value", "origin"], [(one.name, _text(one.value), one.origin) for one in found]
    )


def _text(value: Any) -> str:
    match value:
        case None | ():
            return "-"
        case tuple():
            return ",".join(cast("tuple[str, ...]", value))
        case float():
            return f"{value:f}".rstrip("0").rstrip(".")
        case _:
            return str(value)
