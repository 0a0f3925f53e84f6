"""A job as its row."""

from __future__ import annotations

from treadle.backends.common.jobrow import JobRow

__all__ = ["Home", "Row"]


class Home:
    """Where a row is stored."""

    NOWHERE = 0
    JOB = 1
    DONE = 2


class Row(JobRow, gc=False):
    """A job with all that is known of it but what was pushed."""

    request: int | None = None
    # Those of few jobs, encoded.
    facts: bytes | None = None
    # Where it was read from, and under which number; nowhere before it is written.
    home: int = Home.NOWHERE
    was_seq: int = 0
    result: bytes | None = None
