"""One slot of a pool: a worker lives in it, and calls are carried out there."""

from __future__ import annotations

from typing import Any, Protocol

from treadle.pools.future import Future
from treadle.pools.submission import Kind, Submission

__all__ = ["Place", "life"]


class Place(Protocol):
    """Where a worker lives and its calls are carried out; one class for each mode.

    Nothing here blocks but :meth:`join`, and all of it may be used from any thread. What a call
    comes to is told to its future. A place keeps no policies: attempts, limits and pauses are the
    business of who submits.

    ``start`` comes before every call and ``stop`` after every call that was submitted before it;
    both, and ``restart``, happen while no call runs.
    """

    # Number of the worker in its pool.
    index: int
    # Calls that were given to it since it was made, without the steps of its life. Counted by who
    # gives them.
    total: int

    @property
    def failed(self) -> int:
        """Calls whose code raised."""
        ...

    @property
    def pid(self) -> int:
        """The process that it has for itself; 0 when there is none."""
        ...

    @property
    def rss(self) -> int | None:
        """The memory of that process, in bytes, where the system tells."""
        ...

    @property
    def busy(self) -> float:
        """Seconds that calls took, those that overlapped added up."""
        ...

    @property
    def abandoned(self) -> int:
        """Calls that were asked to end, did not, and were left to themselves."""
        ...

    @property
    def active(self) -> int:
        """Calls that were given to it and have not ended."""
        ...

    @property
    def here(self) -> bool:
        """Whether the caller is code that runs in it, and must not wait for its end."""
        ...

    def submit(self, call: Submission) -> None:
        """Carry out a call after those before it, or beside them where the mode can."""
        ...

    def hasten(self, call: Submission) -> None:
        """Carry out a step of the worker's life before the calls that wait."""
        ...

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """Ask a call to end, then make it, as the mode can; False when it has ended.

        Its future ends with the error, or as cancelled without one.
        """
        ...

    def ask(self, error: BaseException) -> None:
        """Ask what runs to end with an error, but no step of the worker's life.

        What does not hear it is ended as by :meth:`interrupt`, or left to :meth:`kill`.
        """
        ...

    def drop(self, error: BaseException) -> object:
        """End everything that has not begun, with an error; not the steps of its life."""
        ...

    def close(self) -> None:
        """Let go of the thread or process once everything given has ended."""
        ...

    def kill(self, error: BaseException) -> None:
        """Let go of it now, as far as the mode can; what runs ends with the error."""
        ...

    def join(self, timeout: float | None) -> bool:
        """Block until everything is let go of; whether it was in time."""
        ...


def life(place: Place, step: str) -> Future[Any]:
    """Have a worker take a step of its life: ``start``, ``stop``, ``restart``, ``healthy``.

    The last two come before the calls that wait.
    """
    call = Submission(Kind.LIFE, step)
    if step in ("restart", "healthy"):
        place.hasten(call)
    else:
        place.submit(call)
    return call.future
