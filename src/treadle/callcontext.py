"""What a call of a task that is no job can know and say while it runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from treadle.codec.small import remark
from treadle.context import Context
from treadle.durations import moment
from treadle.errors import UsageError
from treadle.guards import finite
from treadle.logs import Logger, get_logger
from treadle.pools.told import Progress

__all__ = ["CallContext", "Footing"]

_log = get_logger("treadle.task")


class Footing(msgspec.Struct, frozen=True):
    """Where a call stands."""

    # The registered name of its task.
    task: str
    # Why it has to end, once it has to.
    why: Callable[[], BaseException | None]
    # Takes what it says of its progress.
    tell: Callable[[Progress], object]
    # The number of the attempt.
    attempt: int = 1
    # When the attempt times out, in seconds since the epoch.
    deadline: float | None = None


class CallContext(Context):
    """One attempt of one call by ``task.submit`` or ``task.map``, as its code sees it.

    What is of jobs alone is refused.
    """

    __slots__ = ("_footing",)

    def __init__(self, footing: Footing) -> None:
        # Not that of a job, which has a lease.
        self._footing = footing
        self._log = None
        self._state = None

    @property
    def task_name(self) -> str:
        """The registered name of the task."""
        return self._footing.task

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._footing.attempt

    @property
    def tries(self) -> int:
        """Attempts before this one."""
        return self.attempt - 1

    @property
    def deadline(self) -> datetime | None:
        """When this attempt times out."""
        due = self._footing.deadline
        return None if due is None else moment(due)

    @property
    def stopping(self) -> bool:
        """The call was asked to end: cancelled, timed out, or its pool killed."""
        return self._footing.why() is not None

    @property
    def state(self) -> dict[str, Any]:
        """Free for dependencies of this attempt."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def log(self) -> Logger:
        """A structured logger that carries the task and the attempt."""
        if self._log is None:
            self._log = _log.bind(task=self.task_name, attempt=self.attempt)
        return self._log

    def check(self) -> None:
        """Return, or raise what ends this attempt. Call it in long loops of plain functions.

        Raises:
            CallCancelled: somebody asked for it.
            AttemptTimeout: it ran longer than it may.
        """
        why = self._footing.why()
        if why is not None:
            raise why

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far the work is: ``future.progress()`` and ``future.said`` give it.

        Raises:
            InvalidOption: not a finite number.
        """
        current = finite(current, "current")
        total = None if total is None else finite(total, "total")
        self._footing.tell(Progress(current, total, remark(message)))


def _refused(name: str) -> property:
    def refuse(self: CallContext) -> NoReturn:
        raise UsageError(
            f"ctx.{name} is of jobs, and this call of task {self.task_name!r} is none: enqueue the "
            "task, or do without"
        )

    return property(refuse, doc="Of jobs alone.")


for _name in dir(Context):
    if not _name.startswith("_") and _name != "phase" and _name not in vars(CallContext):
        setattr(CallContext, _name, _refused(_name))
