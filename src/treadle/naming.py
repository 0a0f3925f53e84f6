"""The name under which a function is registered, the same in every process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from inspect import (
    isasyncgenfunction,
    isclass,
    isfunction,
    isgeneratorfunction,
    ismethod,
    signature,
)
from pathlib import Path
from typing import Any

from treadle.errors import InvalidOption

__all__ = ["task_name"]


def task_name(fn: Callable[..., Any], given: str | None = None) -> str:
    """``"module.qualname"``, or the name that was given.

    A module that runs as a script is called ``__main__`` there and by its real name in a
    foreman; tasks are named by the real one.

    Raises:
        InvalidOption: not a function that a foreman could find, or one that gives no result.
    """
    _check_kind(fn)
    if given is not None:
        if not given or given != given.strip() or len(given) > 255:
            raise InvalidOption(
                f"name={given!r} is not the name of a task; use 1 to 255 characters without "
                "blanks around them",
                option="name",
                value=given,
            )
        return given
    qualname = fn.__qualname__
    if "<" in qualname:
        what = "a lambda" if fn.__name__ == "<lambda>" else "defined inside a function"
        raise _refused(
            fn, f"is {what}, where no foreman can find it; define it at the top of a module"
        )
    return f"{_module_name(fn)}.{qualname}"


def _check_kind(fn: Any) -> None:
    if not isfunction(fn):
        raise _refused(fn, f"is {_kind_of(fn)}; a task is a function made with def or async def")
    if isasyncgenfunction(fn) or isgeneratorfunction(fn):
        raise _refused(
            fn,
            "is a generator, and a job has one result; return a list, "
            "or report with ctx.progress() on the way",
            hint="",
        )
    parameters = next(iter(signature(fn).parameters), None)
    if "." in fn.__qualname__.rpartition("<locals>.")[2] and parameters in {"self", "cls"}:
        raise _refused(
            fn,
            "is a method, and a foreman has no object to call it on; make it a function, or a "
            "@staticmethod above the task decorator",
            hint="",
        )


def _kind_of(fn: Any) -> str:
    if isclass(fn):
        return "a class"
    if ismethod(fn):
        return "a method bound to an object"
    if isinstance(fn, staticmethod | classmethod):
        return "a staticmethod or classmethod: put that decorator above the task's"
    return f"a {type(fn).__name__}"


def _refused(fn: Any, why: str, hint: str = " or give the task a name: name='…'") -> InvalidOption:
    shown = getattr(fn, "__qualname__", None) or repr(fn)
    hint = hint if isfunction(fn) else ""
    return InvalidOption(f"{shown} cannot be a task: it {why}{hint}", option="fn", value=fn)


def _module_name(fn: Callable[..., Any]) -> str:
    if fn.__module__ != "__main__":
        return fn.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        name: str = spec.name
        return name
    file = getattr(main, "__file__", None)
    if file is not None:
        stem = Path(file).stem
        if stem.isidentifier() and _is_found(stem, Path(file)):
            return stem
    raise _refused(
        fn,
        "is in __main__, which has another name in every foreman; put it in a module of its own",
    )


def _is_found(name: str, file: Path) -> bool:
    """Whether ``import name`` would find that very file."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return False
    return Path(spec.origin).resolve() == file.resolve()
