"""Every promise of the documentation names the tests that show it, and these exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "explanation"
GUARANTEES = PAGES / "guarantees.md"
BACKENDS = (PAGES / "postgres.md", PAGES / "rabbitmq.md", PAGES / "redis.md")
LINK = re.compile(r"`([\w/]+\.py)::(\w+)`")
# A section that only sums up.
TABLE = "In one table"
# Those of the pages of backends that promise something.
PROMISING = ("What is promised", "What can still happen")


def promises() -> list[str]:
    """The points of the lists."""
    sections = GUARANTEES.read_text("utf-8").split("\n## ")[1:]
    chosen = [section for section in sections if not section.startswith(TABLE)]
    for page in BACKENDS:
        sections = page.read_text("utf-8").split("\n## ")[1:]
        chosen += [section for section in sections if section.startswith(PROMISING)]
    return re.findall(r"^- (.*(?:\n  .*)*)", "\n".join(chosen), flags=re.MULTILINE)


def links() -> list[tuple[str, str]]:
    """Every test that a page names."""
    return sorted(
        {link for page in (GUARANTEES, *BACKENDS) for link in LINK.findall(page.read_text("utf-8"))}
    )


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of the tests of a file, those of its classes too."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize("link", links(), ids="::".join)
def test_a_test_that_is_named_exists(link: tuple[str, str]) -> None:
    """Under its name, in its file."""
    path, name = link
    assert (ROOT / path).is_file(), path
    assert name.startswith("test_")
    assert name in names_in(path)


@pytest.mark.parametrize("promise", promises(), ids=lambda text: re.sub(r"\W+", "_", text)[:40])
def test_a_promise_is_shown(promise: str) -> None:
    """What is said to hold has a test; what can happen all the same may have none."""
    assert LINK.search(promise) or promise.startswith("What can happen")
