"""Tasks that were declared after another process had loaded the app, told to it when needed."""

from __future__ import annotations

import contextlib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from treadle.pools.places.process.parcel import pack, unpack
from treadle.task import declare

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["learn", "lesson"]

# What a process has to know of a task to run its jobs; the rest is the foreman's business.
_OPTIONS = ("retry", "pickle", "errors")


def lesson(core: Core, name: str) -> tuple[str, str, bytes]:
    """A task for another process: its name, the module that may declare it there, itself packed.

    Raises:
        NotEncodable: the function cannot travel.
    """
    task = core.tasks[name]
    options = {option: getattr(task.options, option) for option in _OPTIONS}
    return name, task.fn.__module__, pack((task.fn, options), f"task {name}", whole=True).body


def learn(core: Core, name: str, module: str, body: bytes) -> None:
    """Take a lesson in.

    Raises:
        NotDecodable: the function cannot be made here.
    """
    if module != "__main__":
        # What the module declares is better than a copy. It may not exist here.
        with contextlib.suppress(ModuleNotFoundError):
            import_module(module)
    if name in core.tasks:
        return
    given: tuple[Any, dict[str, Any]] = unpack(body, f"task {name}")
    fn, options = given
    declare(fn, {"name": name, **options}, core)
