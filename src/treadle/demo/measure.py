"""The size and complexity of every function of a Python file, from its syntax tree."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import msgspec

__all__ = ["FileMeasures", "FunctionMeasures", "measure_source"]

# CPython counts the depth of a tree that it builds per interpreter, not per thread: two at a time
# end in "SystemError: AST constructor recursion depth mismatch".
_parsing = threading.Lock()

KEPT = 10
"""Functions of a file that its result names: enough to find the most complex of all files."""


class FunctionMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """One function or method."""

    # Qualified: "Parser.parse".
    name: str
    line: int
    lines: int
    # Statements and expressions that choose what runs next.
    branches: int
    # Cyclomatic: ways through the function that do not contain each other.
    complexity: int


class FileMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """One file."""

    path: Path
    lines: int
    functions: int
    branches: int
    # The most complex functions, the first one most.
    top: tuple[FunctionMeasures, ...]


def measure_source(path: Path) -> FileMeasures:
    """Parse a file and measure its functions.

    Raises:
        SyntaxError, ValueError, UnicodeDecodeError: it is not Python of this version.
    """
    source = path.read_bytes()
    with _parsing:
        tree = ast.parse(source, str(path))
    finder = _Functions()
    finder.visit(tree)
    found = sorted(finder.found, key=lambda one: (-one.complexity, one.line))
    return FileMeasures(
        path=path,
        lines=source.count(b"\n") + (not source.endswith(b"\n") and bool(source)),
        functions=len(found),
        branches=sum(one.branches for one in found),
        top=tuple(found[:KEPT]),
    )


class _Functions(ast.NodeVisitor):
    """Finds all functions, those inside others too, each measured by itself."""

    def __init__(self) -> None:
        self.found: list[FunctionMeasures] = []
        self._names: list[str] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._inside(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        paths = _Paths()
        for statement in node.body:
            paths.visit(statement)
        self.found.append(
            FunctionMeasures(
                name=".".join([*self._names, node.name]),
                line=node.lineno,
                lines=(node.end_lineno or node.lineno) - node.lineno + 1,
                branches=paths.branches,
                complexity=1 + paths.branches + paths.conditions,
            )
        )
        self._inside(node)

    def _inside(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._names.append(node.name)
        self.generic_visit(node)
        self._names.pop()


_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
)


class _Paths(ast.NodeVisitor):
    """Counts what adds a way through one function; what is defined inside it is not part of it."""

    def __init__(self) -> None:
        self.branches = 0
        # Parts of conditions and comprehensions, which choose too but do not branch.
        self.conditions = 0

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, _BRANCHES):
            self.branches += 1
        elif isinstance(node, ast.BoolOp):
            self.conditions += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            self.conditions += 1 + len(node.ifs)
        super().generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Measured by itself."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Measured by itself."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Its methods are measured by themselves."""

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Runs at another time."""
