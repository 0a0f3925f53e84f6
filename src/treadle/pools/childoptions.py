"""Options of pools whose places are child processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypedDict

import msgspec

from treadle.durations import Duration, seconds
from treadle.errors import InvalidOption

__all__ = ["CHILD_OPTIONS", "ChildOptions", "ChildTerms", "refuse_elsewhere"]


class ChildOptions(TypedDict, total=False):
    """What workers, pools and tasks take of mode="process" alone."""

    # Modules that a child finds loaded, variables of its environment.
    preload: str | Iterable[str]
    env: Mapping[str, str]
    # A child is replaced after so many calls or jobs, so much time, or when it uses so many bytes.
    max_calls: int | None
    max_age: Duration | None
    max_rss: int | None
    # Each call or job runs in a fork of its child, which ends with it.
    fork: bool
    # Context managers that are entered in the child around each call or job.
    around: Iterable[Callable[[], AbstractContextManager[Any]]]


class ChildTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How children live and when they have lived long enough: the options, read."""

    # Modules that children find loaded.
    preload: tuple[str, ...] = ()
    # Variables of their environment, besides those of this process.
    env: Mapping[str, str] = {}
    # A child is replaced after so many calls, seconds, or when it uses so many bytes.
    max_calls: int | None = None
    max_age: float | None = None
    max_rss: int | None = None
    # Each call runs in a fork of the child, which ends with it.
    fork: bool = False
    # Context managers that are entered around each call.
    around: tuple[Callable[[], Any], ...] = ()

    @property
    def of_children(self) -> dict[str, Any]:
        """They by name, without what a record has besides."""
        return {name: getattr(self, name) for name in ChildTerms.__struct_fields__}


def refuse_elsewhere(mode: str, given: Iterable[str]) -> None:
    """Refuse options of child processes where there are none.

    Raises:
        InvalidOption: naming the first.
    """
    for option in CHILD_OPTIONS:
        if mode != "process" and option in given:
            raise InvalidOption(
                f"{option}= is for child processes: use it with mode='process', or leave it away "
                f"in mode={mode!r}",
                option=option,
                value=mode,
            )


def _refused(option: str, value: Any, wanted: str) -> InvalidOption:
    return InvalidOption(f"{option}={value!r} has to be {wanted}", option=option, value=value)


def _preload(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else _several(value)
    if names is None or not all(map(_is_module_name, names)):
        raise _refused("preload", value, "names of modules, such as ['numpy', 'shop.models']")
    return names


def _several(value: Any) -> tuple[Any, ...] | None:
    """They in a tuple, if they are several."""
    try:
        return tuple(value)
    except TypeError:
        return None


def _is_module_name(name: object) -> bool:
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _env(value: Any) -> Mapping[str, str]:
    if not issubclass(type(value), Mapping):
        raise _refused("env", value, "a dict of variables")
    for name, one in value.items():
        # The value may be a secret: it is not shown.
        if not (isinstance(name, str) and isinstance(one, str)) or "=" in name or not name:
            raise _refused("env", name, "a dict from names of variables to text")
        if "\0" in name + one:
            raise _refused("env", name, "without zero characters")
    return dict(value)


def _most(option: str) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _refused(option, value, "a whole number from 1 on or None")
        return value

    return read


def _max_age(value: Any) -> float | None:
    if value is None:
        return None
    age = seconds(value, "max_age")
    if age == 0 or math.isinf(age):
        raise _refused("max_age", value, "above 0")
    return age


def _fork(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused("fork", value, "True or False")
    return value


def _around(value: Any) -> tuple[Callable[[], Any], ...]:
    makers = (value,) if callable(value) else _several(value)
    if makers is None or not all(map(callable, makers)):
        raise _refused("around", value, "functions that give context managers")
    return makers


CHILD_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "preload": _preload,
    "env": _env,
    "max_calls": _most("max_calls"),
    "max_age": _max_age,
    "max_rss": _most("max_rss"),
    "fork": _fork,
    "around": _around,
}
"""How each of them is read."""
