"""How far many calls are, shown to people. The one place of the pools that draws on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from treadle.errors import InvalidOption
from treadle.guards import refuse_unknown

__all__ = ["Bar", "Progress", "Shown", "shown"]


@runtime_checkable
class Bar(Protocol):
    """What shows how far something is. The bars of tqdm are such objects."""

    total: Any

    def update(self, n: int, /) -> object:
        """So many more have ended."""
        ...

    def close(self) -> object:
        """Nothing more will come."""
        ...


Progress: TypeAlias = "bool | Mapping[str, Any] | Bar"
"""``True``, options of a bar (``description``, ``transient``, ``unit``), or a bar of your own."""

_OPTIONS = ("description", "transient", "unit")
_SYNONYMS = {"desc": "description", "leave": "transient", "label": "description"}


class Shown:
    """A bar as long as a block lasts, or nothing.

    Args:
        bar: ``None`` shows nothing.
    """

    def __init__(self, bar: Bar | None) -> None:
        self._bar = bar

    def __bool__(self) -> bool:
        return self._bar is not None

    def update(self, n: int = 1) -> None:
        """So many more have ended."""
        if self._bar is not None:
            self._bar.update(n)

    def close(self) -> None:
        """Leave the screen to others. Harmless when that is done."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def shown(progress: Progress, total: int | None) -> Shown:
    """The bar that is wanted, if any.

    Args:
        progress: as users give it.
        total: how many there are, where that is known.

    Raises:
        InvalidOption, UnknownOption: it is nothing of the kind.
    """
    if progress is False:
        return Shown(None)
    if progress is True:
        return Shown(_RichBar(total))
    if isinstance(progress, Mapping):
        refuse_unknown("a bar", progress, _OPTIONS, _SYNONYMS)
        return Shown(_RichBar(total, **progress))
    if isinstance(progress, Bar):
        if total is not None and progress.total is None:
            progress.total = total
        return Shown(progress)
    raise InvalidOption(
        f"progress={progress!r} is not True, False, a dict of options, or a bar with update(n) "
        "and close()",
        option="progress",
        value=progress,
    )


class _RichBar:
    """A bar on standard error, or below the cell of a notebook."""

    def __init__(
        self,
        total: int | None,
        description: str = "",
        transient: bool = False,
        unit: str = "",
    ) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.total = total
        columns: list[Any] = [BarColumn(), MofNCompleteColumn()]
        if description:
            columns.insert(0, TextColumn("{task.description}", markup=False))
        if unit:
            columns.append(TextColumn("{task.fields[unit]}", markup=False))
        self._progress = Progress(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, force_jupyter=_widgets()),
            transient=transient,
        )
        self._row = self._progress.add_task(description, total=total, unit=unit)
        self._progress.start()

    def update(self, n: int, /) -> None:
        """So many more have ended."""
        self._progress.advance(self._row, n)

    def close(self) -> None:
        """Draw it for the last time."""
        self._progress.stop()


def _widgets() -> bool | None:
    """Whether to draw as notebooks do: not without their widgets, of which rich complains."""
    from importlib.util import find_spec

    return None if find_spec("ipywidgets") is not None else False
