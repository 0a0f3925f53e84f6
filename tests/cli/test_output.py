"""Tables on terminals of every width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from treadle.cli.output import Output

COLUMNS = [
    "queue",
    "waiting",
    "scheduled",
    "queued",
    "running",
    "succeeded",
    "failed",
    "limit",
    "paused",
]
ROWS = [["mail", 0, 0, 12, 3, "1,781", 9, "-", "-"], ["bulk", 0, 0, 1, 0, 0, 0, "-", "-"]]


def shown(width: int) -> list[str]:
    out = Output()
    file = io.StringIO()
    out.console = Console(file=file, width=width, force_terminal=True, color_system=None)
    out.lively = True
    out.table(COLUMNS, ROWS)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [30, 60, 70, 79, 80, 120])
def test_no_word_of_a_table_is_broken(width: int) -> None:
    lines = shown(width)
    words = {word for line in lines for word in line.split()}
    assert words >= {"succeeded", "scheduled", "1,781", "mail", "bulk"}
    assert max(map(len, lines)) <= width


def test_what_no_row_has_is_left_out_first() -> None:
    assert shown(120)[0].endswith("limit  paused")
    narrow = shown(60)
    assert len(narrow) == 1 + len(ROWS)
    assert "paused" not in narrow[0]


def test_rows_stand_one_below_the_other_where_they_have_no_room() -> None:
    lines = shown(30)
    assert lines[:2] == ["queue      mail", "waiting    0"]
    assert lines.count("") == 1
