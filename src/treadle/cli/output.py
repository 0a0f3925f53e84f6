"""What commands print: tables for people, plain columns for pipes, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from treadle.logs import plain_json

__all__ = ["Output", "clean", "complain"]

_STYLES = {
    "queued": "cyan",
    "scheduled": "blue",
    "waiting": "magenta",
    "running": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "dim",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
}
# What a terminal would obey must not come from a job, nor what turns the direction of writing;
# tabs and line ends may.
_KEPT = frozenset("\n\t")
_LONG_WORD = 20  # characters; a longer one, such as a path, may be folded


def clean(text: object) -> str:
    """Text that a terminal shows and does not obey."""
    said = str(text)
    if said.isprintable():
        return said
    return "".join(
        char if char.isprintable() or char in _KEPT else repr(char)[1:-1] for char in said
    )


class Output:
    """Where a command prints, and how.

    Args:
        json: print JSON; everything meant for people is left out.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        # A terminal: colours, folding, live displays. Else plain lines of any length.
        self.lively = self.console.is_terminal and not json

    def data(self, value: object) -> None:
        """One JSON document, on one line."""
        sys.stdout.write(plain_json(msgspec.json.encode(value).decode()) + "\n")

    def line(self, text: object = "", style: str | None = None) -> None:
        """A line for people. Not folded, so that what is in it can be copied."""
        if self.json:
            return
        if self.lively:
            self.console.print(Text(clean(text), style=style or ""), soft_wrap=True)
        else:
            sys.stdout.write(clean(text) + "\n")

    def text(self, text: object, style: str = "") -> None:
        """A paragraph for people, folded at the width of a terminal."""
        if self.lively:
            self.console.print(Text(clean(text), style=style))
        else:
            self.line(text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Rows under headings. The first column is never folded, because it holds names."""
        cells = [[clean(cell) for cell in row] for row in rows]
        if self.json:
            return
        if self.lively:
            self._rich_table(columns, cells)
        else:
            self._plain_table(columns, cells)

    def _rich_table(self, columns: Sequence[str], rows: list[list[str]]) -> None:
        gap, width = 2, self.console.width
        if _needed(columns, rows, gap) > width:
            gap, columns, rows = 1, *_told(columns, rows)
        if _needed(columns, rows, gap) > width:
            self._blocks(columns, rows)
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
        for position, column in enumerate(columns):
            numbers = bool(rows) and all(_is_number(row[position]) for row in rows)
            table.add_column(
                column,
                no_wrap=position == 0,
                overflow="fold",
                justify="right" if numbers else "left",
            )
        for row in rows:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        self.console.print(table)

    def _blocks(self, columns: Sequence[str], rows: list[list[str]]) -> None:
        """Rows one below the other, where a terminal has no room for them side by side."""
        for number, row in enumerate(rows):
            if number:
                self.line()
            self.facts(list(zip(columns, row, strict=True)))

    def _plain_table(self, columns: Sequence[str], rows: list[list[str]]) -> None:
        flat = [[cell.replace("\n", " ").replace("\t", " ") for cell in row] for row in rows]
        lines = [list(columns), *flat]
        widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
        for row in lines:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            sys.stdout.write("  ".join(padded).rstrip() + "\n")

    def facts(self, facts: Sequence[tuple[str, Any]]) -> None:
        """Names with their values, one a line; empty values are left out."""
        shown = [(name, clean(value)) for name, value in facts if value not in (None, "", (), {})]
        if self.json or not shown:
            return
        width = max(len(name) for name, _ in shown)
        for name, value in shown:
            self.line(f"{name.ljust(width)}  {value}")


def _needed(columns: Sequence[str], rows: list[list[str]], gap: int) -> int:
    """The width of a terminal in which no word of a table has to be broken, but very long ones."""

    def longest(text: str) -> int:
        return max(map(len, text.split()), default=0)

    total = gap * (len(columns) - 1)
    for at, column in enumerate(columns):
        cells = [longest(row[at]) if at else len(row[at]) for row in rows]
        widest = max(cells, default=0)
        total += max(longest(column), min(widest, _LONG_WORD) if at else widest)
    return total


def _told(columns: Sequence[str], rows: list[list[str]]) -> tuple[Sequence[str], list[list[str]]]:
    """The columns in which some row has something to say."""
    kept = [at for at in range(len(columns)) if not rows or any(row[at] != "-" for row in rows)]
    return [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").removesuffix("%").isdigit() or text == "-"


def complain(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(clean(text) + "\n")
