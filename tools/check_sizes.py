"""Refuses files and functions that have grown too large; says which are about to.

Counted are lines of code: neither blank lines, nor comments, nor docstrings. There is no list
of exceptions: what is too large is two things.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

FILE_SOFT, FILE_HARD = 300, 400
FUNCTION_SOFT, FUNCTION_HARD = 40, 60
POSITIONAL_HARD = 5

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Finding(NamedTuple):
    """Something that is large, or too large."""

    hard: bool
    place: str
    says: str


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """The numbers of the lines that have code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and _has_docstring(node):
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


def _has_docstring(node: ast.Module | ast.ClassDef | Function) -> bool:
    return ast.get_docstring(node, clean=False) is not None


def functions(tree: ast.Module) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def positional(function: Function) -> int:
    """Parameters that can be given by position, but for ``self`` and ``cls``."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def called_by_a_framework(function: Function) -> bool:
    """Whether nobody writes a call of it: a command, a fixture, a test."""
    return bool(function.decorator_list) or function.name.startswith("test_")


def check(path: Path, source: str) -> Iterator[Finding]:
    """What is large in one file."""
    tree = ast.parse(source, str(path))
    lines = code_lines(source, tree)
    if len(lines) > FILE_SOFT:
        yield Finding(len(lines) > FILE_HARD, f"{path}", f"{len(lines)} lines of code")
    for function in functions(tree):
        place = f"{path}:{function.lineno}"
        span = range(function.lineno, (function.end_lineno or function.lineno) + 1)
        size = len(lines.intersection(span))
        if size > FUNCTION_SOFT:
            says = f"{function.name} has {size} lines of code"
            yield Finding(size > FUNCTION_HARD, place, says)
        count = positional(function)
        if count > POSITIONAL_HARD and not called_by_a_framework(function):
            yield Finding(True, place, f"{function.name} has {count} positional parameters")


def main(arguments: Sequence[str]) -> int:
    """Check the Python files under the folders that are named; 1 when one is refused."""
    refused = False
    folders = [Path(name) for name in arguments if Path(name).is_dir()]
    for path in sorted(file for folder in folders for file in folder.rglob("*.py")):
        for finding in check(path, path.read_text(encoding="utf-8")):
            refused |= finding.hard
            print(f"{'refused' if finding.hard else 'large  '}  {finding.place}  {finding.says}")
    if refused:
        limits = f"{FILE_HARD} lines a file, {FUNCTION_HARD} a function"
        print(f"At most {limits}, {POSITIONAL_HARD} positional parameters.", file=sys.stderr)
    return int(refused)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
