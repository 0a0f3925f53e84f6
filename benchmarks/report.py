"""The figures as tables on the screen, as JSON, and on the documentation's page."""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from benchmarks.figure import Aim, Figure

__all__ = ["BEGIN", "END", "PAGE", "Notes", "show", "tables", "write_json", "write_page"]

Notes = Mapping[str, Sequence[str]]
"""What a reader has to know, by part."""
PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- figures: written by make bench-page -->", "<!-- end of figures -->"
_WIDTH = 100
_TEXTS = {"what", "store", "unit", "aims"}
_REACHED = {True: "met", False: "missed", None: "not compared"}
_HEADING = re.compile(r"^### ", re.MULTILINE)


def machine() -> str:
    """What the figures are of."""
    return (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    )


def parts(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """The figures of each part, in the order in which they came."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        found.setdefault(figure.part, []).append(figure)
    return found


# ------------------------------------------------------------ the screen


def show(figures: Sequence[Figure], notes: Notes) -> None:
    """A table for each part, with the best of the peers."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(machine())
    for part, own in parts(figures).items():
        rows = [_shown(figure) for figure in own]
        heads = _used(rows)
        table = Table(title=part, title_justify="left", box=None, pad_edge=False)
        for head in heads:
            justify: Literal["left", "right"] = "left" if head in _TEXTS else "right"
            least = 28 if head == "what" else None
            table.add_column(head, justify=justify, no_wrap=head != "what", min_width=least)
        for row in rows:
            table.add_row(*[row[head] for head in heads])
        console.print(table)
        for note in notes.get(part, ()):
            console.print(note.replace("**", "").replace("`", ""), markup=False, highlight=False)


def _shown(figure: Figure) -> dict[str, str]:
    best = f"{_number(figure.peer)} {figure.best}" if figure.best is not None else "–"
    aims = ", ".join(_REACHED[figure.reached(aim)] for aim in figure.aims) or "–"
    ratio = _ratio(figure.over(figure.peer))
    return {**_common(figure), "best peer": best, "× peer": ratio, "aims": aims}


# ------------------------------------------------------------ files


def write_json(figures: Sequence[Figure], notes: Notes, path: Path) -> None:
    """All figures, for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "machine": machine(),
        "notes": {part: [*said] for part, said in notes.items()},
        "figures": [asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(found, indent=2) + "\n")


def write_page(figures: Sequence[Figure], notes: Notes, order: Sequence[str]) -> None:
    """Put tables between the marks of the page; those of parts that were not run stay.

    Args:
        figures: of the parts that were run.
        notes: to them.
        order: of all parts.
    """
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    old, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{PAGE} lacks the marks {BEGIN} and {END}")
    kept = {name: table for name, table in _sections(old).items() if name in order}
    kept |= _sections(tables(figures, notes))
    text = "\n".join(kept[name] for name in order if name in kept)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def tables(figures: Sequence[Figure], notes: Notes) -> str:
    """The tables of the page, one for each part, with a column for each peer."""
    return "\n".join(_section(part, own, notes) for part, own in parts(figures).items())


def _section(part: str, figures: Sequence[Figure], notes: Notes) -> str:
    peers = list(dict.fromkeys(name for figure in figures for name in figure.peers))
    rows = [_written(figure, peers) for figure in figures]
    heads = _used(rows)
    lines = [f"### {part.capitalize()}", "", f"{machine()}.", ""]
    lines.append("| " + " | ".join(heads) + " |")
    lines.append("| " + " | ".join("---" if head in _TEXTS else "---:" for head in heads) + " |")
    lines += ["| " + " | ".join(row[head] for head in heads) + " |" for row in rows]
    said = [f"- {note}" for note in notes.get(part, ())]
    return "\n".join([*lines, *([""] if said else []), *said]) + "\n"


def _sections(text: str) -> dict[str, str]:
    """The sections of the page by their parts."""
    found = _HEADING.split(text)[1:]
    return {one.partition("\n")[0].strip().lower(): f"### {one.strip()}\n" for one in found}


def _written(figure: Figure, peers: Sequence[str]) -> dict[str, str]:
    beside = {name: _number(figure.peers.get(name)) for name in peers}
    aims = "; ".join(_aim(figure, aim) for aim in figure.aims) or "–"
    return {
        **_common(figure),
        **beside,
        "× best": _ratio(figure.over(figure.peer)),
        "aims": aims,
    }


# ------------------------------------------------------------ cells


def _used(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The heads of columns that say something: not those in which nothing is, but peers' names.

    A store that is the same in all rows is known by the name of the part.
    """
    optional = {"store": 2, "floor": 1, "× floor": 1, "best peer": 1, "× peer": 1, "× best": 1,
                "aims": 1}  # fmt: skip
    return [
        head
        for head in rows[0]
        if len({row[head] for row in rows if row[head] != "–"}) >= optional.get(head, 0)
    ]


def _common(figure: Figure) -> dict[str, str]:
    return {
        "what": figure.what,
        "store": figure.store,
        "Treadle": _number(figure.value),
        "unit": figure.unit,
        "floor": _number(figure.floor),
        "× floor": _ratio(figure.over(figure.floor)),
    }


def _aim(figure: Figure, aim: Aim) -> str:
    """What was aimed at, and how it came out."""
    wanted = _number(aim.least)
    if aim.against != "value":
        wanted += f" × {aim.against}"
    return f"{wanted}: {_REACHED[figure.reached(aim)]}"


def _number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}" if value < 10 else f"{value:,.0f}"
