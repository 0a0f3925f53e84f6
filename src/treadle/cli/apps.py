"""Finding the app that a command works with."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from treadle import target
from treadle.cli.output import complain
from treadle.config import Settings, load
from treadle.errors import InvalidOption, TreadleError

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["check_shared", "name_of", "the_app"]


def name_of(app: str | None, settings: Settings | None = None) -> str:
    """The name of the app: what was given, or what is configured.

    Raises:
        InvalidOption: neither.
    """
    settings = settings or load()
    name = app or settings.app
    if name is None:
        raise InvalidOption(
            "no app: name it on the command line (tasks:app for the object 'app' in tasks.py), "
            'or put  app = "tasks:app"  into treadle.toml, or set TREADLE_APP',
            option="app",
            value=None,
        )
    if app is None:
        _reach(settings)
    return name


def the_app(name: str) -> Core:
    """The core of an app, its module imported.

    Raises:
        InvalidOption: there is no such module, no such attribute, it is not an app, or its
            module cannot be imported; the traceback of the last is printed.
    """
    try:
        found = target.load(name)
    except (TreadleError, KeyboardInterrupt):
        raise
    # Whatever a module does when it is imported, SystemExit included, ends here.
    except BaseException as error:
        complain(_theirs(error))
        raise InvalidOption(
            f"app {name!r}: its module cannot be imported, see the traceback above "
            f"({type(error).__name__}: {error})",
            option="app",
            value=name,
        ) from error
    return target.core_of(found, name)


def check_shared(core: Core, name: str, otherwise: str) -> None:
    """Return if the jobs of an app live where others find them, or run where they are made.

    Args:
        core: of the app.
        name: of the app.
        otherwise: what comes of a store inside one process.

    Raises:
        InvalidOption: they live inside one process.
    """
    url = next((one for one in core.urls.values() if one.startswith("memory:")), None)
    if url is not None and core.store.eager is None:
        raise InvalidOption(
            f"app {name!r} keeps its jobs in {url}, inside one process, so {otherwise}. "
            "Use --url sqlite:///jobs.db, or run its foreman in your program: "
            "async with app.foreman()",
            option="url",
            value=url,
        )


def _reach(settings: Settings) -> None:
    """An app that a file names is found beside that file."""
    place = Path(settings.sources.get("app", "").removesuffix(" [tool.treadle]"))
    if place.is_file() and str(place.parent) not in sys.path:
        sys.path.insert(0, str(place.parent))


def _theirs(error: BaseException) -> str:
    """The traceback from the first line that is not ours or the import system's."""
    here = error.__traceback__
    first: TracebackType | None = here
    while here is not None:
        file = here.tb_frame.f_code.co_filename
        ours = file.startswith("<frozen importlib") or file.startswith(_OURS)
        if not ours and "importlib" not in file:
            first = here
            break
        here = here.tb_next
    else:
        first = None  # a syntax error: the module itself never ran
    return "".join(traceback.format_exception(type(error), error, first)).rstrip()


_OURS = (str(Path(target.__file__).resolve()), str(Path(__file__).resolve()), target.__file__)
