"""SQL is made of fixed texts and parameters: no code puts a value into a statement."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import treadle

SOURCES = sorted(Path(treadle.__file__).parent.rglob("*.py"))
RUNS = {"execute", "executemany", "executescript"}
# What may be put in: the name of a table, which one function has quoted, and constants of this
# library into a PRAGMA, which takes no parameters.
QUOTED = {"quoted"}
CONSTANTS = {"APPLICATION_ID", "_CHECKPOINT_BUSY_MS", "durable", "mode"}


def composed(tree: ast.AST) -> Iterator[ast.expr]:
    """Statements that are put together where they are run."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=[first, *_]) if name in RUNS:
                made = isinstance(first, ast.JoinedStr | ast.BinOp)
                if made or (isinstance(first, ast.Call) and _makes_text(first.func)):
                    yield first


def _makes_text(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in {"format", "join", "replace"}


def names_in(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def allowed(node: ast.expr) -> set[str]:
    begins = next((part.value for part in ast.walk(node) if isinstance(part, ast.Constant)), "")
    return CONSTANTS if isinstance(begins, str) and begins.startswith("PRAGMA ") else QUOTED


def offences(text: str) -> list[int]:
    return [one.lineno for one in composed(ast.parse(text)) if not names_in(one) <= allowed(one)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_value_is_put_into_a_statement(path: Path) -> None:
    assert offences(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        'c.execute(f"SELECT {x}")',
        'c.execute("SELECT " + x)',
        'c.execute("SELECT %s" % x)',
        'c.executemany("SELECT {}".format(x), [])',
    ],
)
def test_a_value_in_a_statement_would_be_found(code: str) -> None:
    assert offences(code) == [1]
