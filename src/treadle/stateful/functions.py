"""The functions of a foreman over workers: each becomes a task when it is first enqueued."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from treadle.core import Core
from treadle.errors import InvalidOption
from treadle.pools.worker import WorkerBuilder
from treadle.task import Task, declare, is_task, transplanted

__all__ = ["Functions"]


class Functions:
    """Knows the task of each function.

    Args:
        core: gets the tasks.
        worker: what their jobs are given.
        place: options that say where all jobs wait.
        policies: options of functions; a task has its own.
    """

    def __init__(
        self,
        core: Core,
        worker: WorkerBuilder[Any],
        place: Mapping[str, Any],
        policies: Mapping[str, Any],
    ) -> None:
        self._core = core
        self._worker = worker
        self._place = place
        self._policies = policies
        self._known: dict[Any, Task[..., Any]] = {}

    def task_of(self, fn: Any) -> Task[..., Any]:
        """The task of a function, or what a task of an app is here.

        Raises:
            InvalidOption: no worker can be given to it.
        """
        task = self._known.get(fn)
        if task is None:
            task = self._known[fn] = self._transplanted(fn) if is_task(fn) else self._declared(fn)
        return task

    def _declared(self, fn: Callable[..., Any]) -> Task[..., Any]:
        task: Task[..., Any] = declare(
            fn,
            {"name": self._name(fn), "worker": self._worker, **self._place, **self._policies},
            self._core,
        )
        return task

    def _transplanted(self, task: Task[..., Any]) -> Task[..., Any]:
        if task.worker is None or not issubclass(self._worker.cls, task.worker.cls):
            given = "no worker" if task.worker is None else f"a {task.worker.cls.__name__}"
            raise InvalidOption(
                f"task {task.name!r} is given {given}, and this foreman has workers of "
                f"{self._worker.cls.__name__}: declare it with worker={self._worker.cls.__name__}",
                option="worker",
                value=task.worker,
            )
        return transplanted(task, self._core, self._place, self._worker)

    def _name(self, fn: Any) -> str:
        """Functions made in functions have one name and are several."""
        module, name = getattr(fn, "__module__", ""), getattr(fn, "__qualname__", repr(fn))
        name = whole = f"{module}.{name}"
        number = 1
        while whole in self._core.tasks:
            number += 1
            whole = f"{name}-{number}"
        return whole
