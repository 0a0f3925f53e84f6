"""Queues that a foreman was told to serve, and that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from treadle.errors import TreadleError
from treadle.hints import did_you_mean
from treadle.logs import get_logger
from treadle.ports import Backend, Query
from treadle.queuenames import ALL, covers

if TYPE_CHECKING:
    from treadle.task import Task

__all__ = ["warn_of_unknown"]

_log = get_logger("treadle.foreman")


async def warn_of_unknown(
    backend: Backend, tasks: Iterable[Task[Any, Any]], names: Sequence[str]
) -> None:
    """Log the names that no task declares and no job has: most are written wrongly.

    The store is asked only when there is such a name.

    Args:
        backend: knows the jobs.
        tasks: of the app; without any nothing can be said.
        names: of queues that are served, or not.
    """
    declared = {task.options.queue for task in tasks}
    strange = [name for name in names if declared and not _known(name, declared)]
    if not strange:
        return
    try:
        page = await backend.find(Query(counts=True, limit=1))
    # It keeps no records, or does not answer now: the jobs themselves will find out.
    except (TreadleError, OSError):
        filled: set[str] = set()
    else:
        filled = set(page.counts)
    for name in strange:
        if not _known(name, filled):
            hint = did_you_mean(name, declared | filled)
            _log.warning(
                "foreman.queue_unknown",
                queue=name,
                hint=f"no task is declared for it and no job is in it{hint}",
            )


def _known(name: str, queues: Iterable[str]) -> bool:
    """Whether jobs of these queues may be in a queue of that name, or below it."""
    return name == ALL or any(covers(name, one) or covers(one, name) for one in queues)
