"""Readers of the options that give a task places of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from treadle.errors import InvalidOption
from treadle.options import Reading, TaskOptions
from treadle.pools.childoptions import CHILD_OPTIONS

__all__ = ["NEEDS", "check_needs"]

Reader = Callable[[Any, Reading], dict[str, Any]]


def _max_workers(value: Any, reading: Reading) -> dict[str, Any]:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise reading.refuse("max_workers", value, "a whole number from 1")
    return _with("max_workers", value, reading)


def _of_children(option: str, value: Any, reading: Reading) -> dict[str, Any]:
    return _with(option, CHILD_OPTIONS[option](value), reading)


def _with(option: str, value: Any, reading: Reading) -> dict[str, Any]:
    return {"needs": msgspec.structs.replace(reading.now("needs"), **{option: value})}


NEEDS: dict[str, Reader] = {
    "max_workers": _max_workers,
    **{option: partial(_of_children, option) for option in CHILD_OPTIONS},
}
"""How each of them is read."""


def check_needs(task: str, given: Mapping[str, Any], options: TaskOptions) -> None:
    """Refuse places of its own for a task that can have none, or none of that kind.

    Raises:
        InvalidOption: naming the first.
    """
    mode, worker = options.mode, options.worker
    for option in NEEDS:
        text = ""
        if option not in given:
            continue
        if worker is not None:
            own = f"worker={worker.cls.__name__}.options({option}=…)"
            text = f"{option}= is of the worker, which says how it lives: {own}"
        elif option in CHILD_OPTIONS and mode != "process":
            text = (
                f"{option}= is for child processes: use it with mode='process', or leave it away "
                f"in mode={mode!r}"
            )
        elif mode == "asyncio":
            text = (
                f"{option}= is for threads, processes and actors; in mode='asyncio' calls overlap "
                "in one event loop, and limits=[Slots(…)] bounds them"
            )
        if text:
            raise InvalidOption(f"task {task!r}: {text}", option=option, value=given[option])
