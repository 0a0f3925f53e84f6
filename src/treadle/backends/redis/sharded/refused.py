"""What a store of several shards cannot keep, refused where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.cells import written_rule
from treadle.errors import Unsupported
from treadle.ports import Feature, Write
from treadle.records import NewJob

__all__ = ["check_push", "check_rules"]

_BOUNDS = Feature.BOUNDS.value


def check_push(url: str, job: NewJob) -> None:
    """Refuse a job that its shard alone cannot answer for.

    Raises:
        Unsupported: it is bounded by the jobs of its queue.
    """
    if job.bound is not None:
        raise Unsupported(
            f"{url} counts no jobs of queue {job.queue!r} over its shards, which bound="
            f"{job.bound} of task {job.task!r} needs; take it away, or use a namespace without "
            "shards",
            backend=url,
            feature=_BOUNDS,
        )


def check_rules(url: str, writes: Sequence[Write]) -> None:
    """Refuse rules that need the jobs of all shards counted.

    Raises:
        InvalidOption: a cell may not be written, or holds no rule.
        Unsupported: a rule bounds what runs.
    """
    for one in writes:
        rule = written_rule(one)
        if rule is not None and rule.max_running is not None:
            raise Unsupported(
                f"{url} counts no running jobs over its shards, which max_running="
                f"{rule.max_running} for {one.key!r} needs; give the tasks of the queue "
                "limits=[Slots(n)] with one key, or use a namespace without shards",
                backend=url,
                feature=_BOUNDS,
            )
