"""Lets the comment above a field of a record be its description in the reference."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from typing import Any

import msgspec
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _describe)
    return {"parallel_read_safe": True}


def _describe(app: Sphinx, what: str, name: str, obj: Any, *rest: Any) -> None:
    """Adds a list of fields to the description of a record."""
    _options, lines = rest
    if not (inspect.isclass(obj) and issubclass(obj, msgspec.Struct)):
        return
    for field, text in field_comments(obj).items():
        lines += ["", f"``{field}``", f"    {text}"]
    lines.append("")


@lru_cache
def field_comments(record: type) -> dict[str, str]:
    """The comment at or above each field of a class, by name; empty where there is none."""
    source = textwrap.dedent(inspect.getsource(record))
    lines = source.splitlines()
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        node.target.id: _comment(lines, node)
        for node in body.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _comment(lines: list[str], node: ast.AnnAssign) -> str:
    _, sign, beside = lines[(node.end_lineno or node.lineno) - 1].rpartition("  # ")
    if sign:
        return beside
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip().lstrip("# "))
    return " ".join(above)
