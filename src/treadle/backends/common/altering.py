"""Changes from outside: what they make of a row, and what became of all of them."""

from __future__ import annotations

from treadle.backends.common.jobrow import Facts, JobRow
from treadle.backends.common.lines import line_rank
from treadle.changes import Outcome
from treadle.ports import Altered
from treadle.records import JobState, NewJob

__all__ = ["Tally", "known_again", "reprioritise", "start_over"]


class Tally:
    """What became of the jobs so far."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._asked: list[str] = []
        self._refused: dict[str, JobState] = {}

    def add(self, job_id: str, what: Outcome, state: JobState) -> None:
        """One more; a change is refused for the state of its job."""
        if what is Outcome.DONE:
            self._done.append(job_id)
        elif what is Outcome.ASKED:
            self._asked.append(job_id)
        else:
            self._refused[job_id] = state

    def altered(self, cursor: str | None) -> Altered:
        """The answer."""
        return Altered(
            done=tuple(self._done),
            asked=tuple(self._asked),
            refused=self._refused,
            cursor=cursor,
        )


def reprioritise(row: JobRow, priority: int) -> None:
    """Give a job another place wherever it stands."""
    row.rank = -priority
    if row.line is not None:
        row.line_rank = line_rank(row.flags, row.rank)


def known_again(facts: Facts) -> Facts:
    """What is still true of a finished job that starts over."""
    return Facts(note=facts.note, attempts=facts.attempts, replaced=facts.replaced)


def start_over(row: JobRow, spec: NewJob) -> None:
    """Take back what the life of a finished job set."""
    row.tries = row.crashes = 0
    row.started = row.finished = row.keep_until = row.expires = row.failed_task = None
    row.key = spec.key
