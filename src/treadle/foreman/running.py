"""A job while it runs: its lease, its deadlines, and the channel to its code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from treadle.errors import LeaseLost
from treadle.policies.breaker import Breaker, Pass
from treadle.records import Lease, Note, Token

__all__ = ["TAKEN_OVER", "CutOff", "Noticed", "Running", "Stopped"]

TAKEN_OVER = "the lease of job {} was taken over by another foreman"


class Stopped(Exception):
    """Why an attempt ends when its foreman's grace is over. It is given back, uncounted."""


class CutOff(LeaseLost):
    """Why an attempt ends whose lease could not be renewed, because the store did not answer.

    Nobody may have had the time to take it over: the job is given back, uncounted, should the store
    still know of the lease when it answers again.
    """


class Running(msgspec.Struct, eq=False):
    """One attempt of one job. It is the :class:`~treadle.pools.sites.site.Channel` of its code.

    The event loop of the foreman owns it; the heartbeat thread and the threads of tasks only
    read and write single attributes.
    """

    lease: Lease
    # Local, monotonic: past it the lease counts as lost, whatever the store thinks.
    held_until: float
    # Handed back to the breaker with the outcome.
    leave: Pass
    foreman: Noticed
    # Of its task, shared by the fleet; and the report to it, for which the verdict waits.
    breaker: Breaker | None = None
    reported: asyncio.Task[None] | None = None
    # Why it was asked to end; and whether because its lease is gone, with the right to say
    # anything of the job. Not that of one that was cut off: the store may still know of it.
    ending: BaseException | None = None
    lost: bool = False
    # A transaction ends it in the store, or has ended it: its lease goes with the commit.
    commits: bool = False
    has_started: bool = False
    # The last word of the code, as long as the store does not have it.
    latest: Note | None = None
    settled: bool = False
    began: float = 0.0
    # Seconds that the attempt may take.
    timeout: float | None = None
    # Told when the code is about to run, for a job that had to wait for a worker.
    on_start: Callable[[Running], None] | None = None
    # While it runs. Its context refers to this object: kept longer, the two would wait for
    # the collector.
    task: asyncio.Task[None] | None = None
    # Where its deadline is kept; see Deadlines.
    slot: int = -1

    @property
    def token(self) -> Token:
        """Proof of the lease."""
        return self.lease.token

    @property
    def stopping(self) -> bool:
        """The foreman is asked to stop."""
        return self.foreman.stopping

    @property
    def renews(self) -> bool:
        """Whether its lease is to be renewed: also of what was asked to end, until it has."""
        return not (self.settled or self.commits or self.lost)

    def started(self) -> None:
        """The code is about to run."""
        self.has_started = True
        if self.on_start is not None:
            self.on_start(self)
        if self.foreman.on_started is not None:
            self.foreman.on_started(self)

    def note(self, note: Note) -> None:
        """Replace what is known of the attempt."""
        self.latest = note
        self.foreman.on_note(self)

    def committing(self, yes: bool) -> None:
        """A transaction is about to end it, or could not."""
        self.commits = yes

    def end(self, reason: BaseException) -> None:
        """Ask the code to end. The first reason stands; later ones only ask again."""
        if self.settled or (self.commits and isinstance(reason, LeaseLost)):
            return
        if self.ending is None:
            self.lost = isinstance(reason, LeaseLost) and not isinstance(reason, CutOff)
            self.ending = reason
            self.foreman.on_ending(self)
        if self.task is not None:
            self.task.cancel()


class Noticed:
    """What a running job tells its foreman."""

    # Set under a supervisor: marks the job on the shared page.
    on_started: Callable[[Running], None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether it is asked to stop."""
        raise NotImplementedError

    def on_guarded(self, running: Running) -> None:
        """A job begins whose task has a breaker."""

    def on_note(self, running: Running) -> None:
        """There is a new note to store."""

    def on_ending(self, running: Running) -> None:
        """A job was asked to end."""
