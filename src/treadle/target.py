"""Finding an app by name: ``tasks:app``, ``package.module:app`` or ``path/to/file.py:app``."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from treadle.errors import InvalidOption

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["core_of", "load"]

_HOW = "name it as 'module:attribute' or 'path/to/file.py:attribute', for example 'tasks:app'"


def load(target: str) -> object:
    """The object that a target names, with the working directory importable as scripts have it.

    Args:
        target: ``module:attribute``; without an attribute, ``app``.

    Raises:
        InvalidOption: there is no such module or attribute, and what is there instead.
    """
    name, _, attribute = target.partition(":")
    attribute = attribute or "app"
    if not name:
        raise _refused(target, f"it names no module; {_HOW}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _from_file(target, name) if name.endswith(".py") else _from_name(target, name)
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise _refused(target, _no_attribute(module, name, attribute))
        found = getattr(found, part)
    return found


def core_of(app: object, target: str) -> Core:
    """The core of an app.

    Raises:
        InvalidOption: it is not an app.
    """
    core = getattr(app, "core", None)
    # A task has a core as well, but whoever names a task means something else.
    if type(app).__name__ != "Treadle" or core is None:
        raise _refused(
            target, f"it is a {type(app).__name__}, not a Treadle app; name the Treadle(...) object"
        )
    found: Core = core
    return found


def _from_file(target: str, name: str) -> ModuleType:
    """A file is imported by its module name, so that its tasks are called the same everywhere."""
    path = Path(name).resolve()
    if not path.is_file():
        raise _refused(target, f"there is no file {path}")
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(".".join(parts))


def _from_name(target: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that is missing somewhere inside the user's own import is theirs to see.
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise _refused(target, _no_module(name)) from None


def _no_module(name: str) -> str:
    here = Path.cwd()
    first = name.partition(".")[0]
    near = sorted(path.stem for path in here.glob("*.py"))[:8]
    text = f"there is no module {name!r} in {here} or on the import path"
    if near:
        text += f" (modules here: {', '.join(near)})"
    if os.sep in name or "/" in name:
        text += f"; a path must end in .py: {name}.py"
    elif (here / "src" / first).exists() or (here / "src" / f"{first}.py").exists():
        text += "; it is in src/: install the project, or run with PYTHONPATH=src"
    return text


def _no_attribute(module: ModuleType, name: str, attribute: str) -> str:
    apps = sorted(key for key, value in vars(module).items() if type(value).__name__ == "Treadle")
    text = f"module {name!r} has no attribute {attribute!r}"
    if apps:
        return f"{text}; its apps are: {', '.join(f'{name}:{app}' for app in apps)}"
    return f"{text} and no Treadle app; make one with app = Treadle(...)"


def _refused(target: str, why: str) -> InvalidOption:
    return InvalidOption(f"app {target!r}: {why}", option="app", value=target)
