"""Annotations as types, also where some of them cannot be resolved."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable, Collection, Mapping
from types import CodeType, FrameType
from typing import Any, ForwardRef

__all__ = [
    "Unresolved",
    "annotated",
    "enclosing_names",
    "hints_of_class",
    "hints_of_function",
    "names_around",
    "substituted",
    "type_arguments",
]


class Unresolved:
    """An annotation that names something which is not there."""

    def __init__(self, text: str, problem: Exception) -> None:
        self.text = text
        self.reason = (
            f"the annotation {text!r} cannot be resolved ({problem}); define the class at "
            "module level and import it outside of TYPE_CHECKING"
        )


def enclosing_names(function: Callable[..., Any]) -> dict[str, Any]:
    """What the annotations of a function defined inside another may refer to.

    Only the names that they mention are kept, so that no other local lives on.
    """
    function = annotated(function)
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None or "<locals>" not in code.co_qualname:
        return {}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and code not in frame.f_code.co_consts:
        frame = frame.f_back
    if frame is None:
        return {}
    text = " ".join(str(note) for note in getattr(function, "__annotations__", {}).values())
    wanted = set(re.findall(r"\w+", text))
    return {name: value for name, value in frame.f_locals.items() if name in wanted}


def annotated(function: Callable[..., Any]) -> Any:
    """What has the annotations of a callable: the innermost function of its wrappers."""
    inner: Any = inspect.unwrap(function)
    while isinstance(inner, functools.partial):
        inner = inspect.unwrap(inner.func)
    inner = getattr(inner, "__func__", inner)
    if isinstance(inner, type):
        return vars(inner).get("__init__", inner)
    return inner if hasattr(inner, "__globals__") else type(inner).__call__


def names_around(function: Any, local: Mapping[str, Any]) -> dict[str, Any]:
    """The names that the annotations of a function may use."""
    return {**getattr(function, "__globals__", {}), **_cells(function), **local}


def hints_of_function(
    function: Any, names: Collection[str], space: dict[str, Any]
) -> dict[str, Any]:
    """The annotations of some parameters, each a type or ``Unresolved``."""
    notes: dict[str, Any] = getattr(function, "__annotations__", {})
    return _resolved({name: notes[name] for name in names if name in notes}, space, None)


def _cells(function: Any) -> dict[str, Any]:
    code = getattr(function, "__code__", None)
    cells: dict[str, Any] = {}
    for name, cell in zip(
        code.co_freevars if code else (), getattr(function, "__closure__", None) or (), strict=True
    ):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return cells


def hints_of_class(kind: type, local: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of the fields of a class and its bases."""
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001  anything may stand there; find out which one it is
        hints: dict[str, Any] = {}
        for base in reversed(kind.__mro__):
            module = sys.modules.get(base.__module__)
            space = {**getattr(module, "__dict__", {}), **local, base.__name__: base}
            notes: dict[str, Any] = inspect.get_annotations(base)
            hints.update(_resolved(notes, space, dict(vars(base))))
        return hints


def _resolved(
    notes: Mapping[str, Any], space: dict[str, Any], local: dict[str, Any] | None
) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for name, note in notes.items():
        holder = type("holder", (), {"__annotations__": {name: note}})
        try:
            hints.update(typing.get_type_hints(holder, space, local, include_extras=True))
        except Exception as problem:  # noqa: BLE001  an annotation is any expression
            text = note.__forward_arg__ if isinstance(note, ForwardRef) else str(note)
            hints[name] = Unresolved(text, problem)
    return hints


def substituted(annotation: Any, variables: Mapping[Any, Any]) -> Any:
    """An annotation with its type variables replaced by what is known of them."""
    if isinstance(annotation, typing.TypeVar):
        return variables.get(annotation, annotation)
    inner: tuple[Any, ...] = getattr(annotation, "__parameters__", ())
    if not inner or typing.get_origin(annotation) is None:  # a bare class knows its own
        return annotation
    return annotation[tuple(variables.get(variable, variable) for variable in inner)]


def type_arguments(annotation: Any) -> dict[Any, Any]:
    """What the type variables of a generic class stand for, those of its bases included."""
    kind: Any = typing.get_origin(annotation) or annotation
    known: dict[Any, Any] = dict(
        zip(getattr(kind, "__parameters__", ()), typing.get_args(annotation), strict=False)
    )
    for base in getattr(kind, "__orig_bases__", ()):
        if typing.get_origin(base) not in (None, typing.Generic, typing.Protocol):
            for variable, value in type_arguments(base).items():
                known.setdefault(variable, substituted(value, known))
    return known
