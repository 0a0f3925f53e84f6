"""The arguments of a stored job, as its function is given them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.codec.natural import natural_decode

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.records import NewJob
    from treadle.task import Task

__all__ = ["arguments_of", "call_of"]


def call_of(
    core: Core, spec: NewJob, task: Task[..., Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of a job of a task.

    Raises:
        PayloadError: they cannot be read, or are not arguments of this task.
    """
    return task.shape.decode(core.codec.body_of(spec.payload, spec.task, spec.id))


def arguments_of(core: Core, spec: NewJob, task: Task[..., Any] | None = None) -> dict[str, Any]:
    """The arguments of a job by the names of the parameters, defaults included.

    Args:
        core: of the app.
        spec: of the job.
        task: its task; by default the one of the app. When the app does not know it, what was
            passed is given as plain data, without defaults.

    Raises:
        PayloadError: they cannot be read.
    """
    task = task or core.tasks.get(spec.task)
    if task is None:
        body = core.codec.body_of(spec.payload, spec.task, spec.id)
        found: dict[str, Any] = natural_decode(body)
        return found
    args, kwargs = call_of(core, spec, task)
    return dict(task.mould.arguments(args, kwargs))
