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
from treadle.guards import is_text

__all__ = ["main_module", "task_name"]

_GLOB = frozenset("*?[")


def task_name(fn: Callable[..., Any], given: str | None = None, *, visits: bool = False) -> str:
    """``"module.qualname"``, or the name that was given.

    A module that runs as a script is called ``__main__`` there and by its real name in a
    foreman; tasks are named by the real one.

    Args:
        fn: the function.
        given: the name.
        visits: it is given a worker first, so it may be a method of one.

    Raises:
        InvalidOption: not a function that a foreman could find, or one that gives no result.
    """
    _check_kind(fn, visits)
    if given is not None:
        if not is_text(given, 255) or given != given.strip() or not _GLOB.isdisjoint(given):
            raise InvalidOption(
                f"name={given!r:.300} is not the name of a task; use 1 to 255 characters that can "
                "be seen, without blanks around them and without * ? [, which select many tasks",
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


def _check_kind(fn: Any, visits: bool) -> None:
    if isinstance(fn, str):
        raise _refused(fn, f"is a name; write it by its option: name={fn!r}")
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
    in_class = "." in fn.__qualname__.rpartition("<locals>.")[2]
    if in_class and parameters in {"self", "cls"} and not visits:
        raise _refused(
            fn,
            "is a method, and a foreman has no object to call it on; make it a function, a "
            "@staticmethod above the task decorator, or name the class of workers: worker=…",
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
    name = main_module()
    if name is not None:
        return name
    raise _refused(
        fn,
        "is in __main__, which has another name in every foreman; put it in a module of its own",
    )


def main_module() -> str | None:
    """The name by which other processes import the module that runs as a script, if they can."""
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
    return None


def _is_found(name: str, file: Path) -> bool:
    """Whether ``import name`` would find that very file."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return False
    return Path(spec.origin).resolve() == file.resolve()
