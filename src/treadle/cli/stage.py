"""The demo on a terminal, in a pipe, or silent."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from treadle.cli.output import Output
from treadle.cli.times import lasted
from treadle.demo.foremen import Victim
from treadle.demo.story import Snapshot
from treadle.records import JobState

__all__ = ["Stage"]

_PLAIN_EVERY = 2.0


class Stage:
    """Shows the progress: live on a terminal, a line every two seconds in a pipe.

    Args:
        out: where to.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._live: Any = None
        # When a line was last printed, and how many were done then.
        self._said = -_PLAIN_EVERY
        self._done = -1

    def __enter__(self) -> Self:
        if self._out.lively:
            from rich.live import Live

            self._live = Live(console=self._out.console, refresh_per_second=8, transient=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def enqueued(self, jobs: int, seconds: float) -> None:
        """All jobs are in the store."""
        self._out.line(f"enqueued {jobs:,} jobs in {lasted(seconds)}")

    def killed(self, victim: Victim) -> None:
        """A foreman process was killed."""
        running = f"{victim.jobs} job{'s' if victim.jobs != 1 else ''}"
        self._out.line(f"killed foreman process {victim.pid} (kill -9) while it ran {running}")

    def update(self, snapshot: Snapshot) -> None:
        """How far it is."""
        if self._live is not None:
            self._live.update(_picture(snapshot))
        elif snapshot.done > self._done and (
            snapshot.done == snapshot.total or snapshot.seconds - self._said >= _PLAIN_EVERY
        ):
            self._said, self._done = snapshot.seconds, snapshot.done
            self._out.line(f"{snapshot.seconds:4.0f} s  {_sentence(snapshot)}")


def _sentence(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    failed = counts.get(JobState.FAILED, 0)
    parts = [
        f"queued {_waiting(snapshot):,}",
        f"running {counts.get(JobState.RUNNING, 0):,}",
        f"done {snapshot.done:,}/{snapshot.total:,}",
        f"failed {failed:,}",
        f"{snapshot.rate:.0f} jobs/s",
    ]
    if snapshot.left is not None and snapshot.done < snapshot.total:
        parts.append(f"{lasted(max(1.0, snapshot.left))} left")
    return "  ".join(parts)


def _waiting(snapshot: Snapshot) -> int:
    waiting = (JobState.QUEUED, JobState.SCHEDULED, JobState.WAITING)
    return sum(snapshot.counts.get(state, 0) for state in waiting)


def _picture(snapshot: Snapshot) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    picture = Table.grid()
    picture.add_row(ProgressBar(total=snapshot.total, completed=snapshot.done, width=72))
    picture.add_row(Text(_sentence(snapshot)))
    return picture
