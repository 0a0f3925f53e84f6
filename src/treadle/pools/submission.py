"""One call of a worker on its way: to a place, through it, and back to its future."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, Protocol

from treadle.pools.future import Future

__all__ = ["Informed", "Interrupting", "Kind", "Submission", "said_of"]


class Kind(IntEnum):
    """What is called."""

    # A method of the worker, by its name.
    METHOD = 0
    # A function that is given the worker.
    VISIT = 1
    # A function that knows no worker.
    FUNCTION = 2
    # A step of the worker's own life, by its name: "start", "stop", "restart", "healthy".
    LIFE = 3


class Interrupting(Protocol):
    """What has a call, and can end it."""

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """Ask a call to end, then make it; False when it has ended."""
        ...


class Submission:
    """A call under way.

    Args:
        kind: what is called.
        what: the name or the function.
        args, kwargs: its arguments.
        future: is told what came of it.
    """

    # Where it was given to.
    place: Interrupting

    __slots__ = ("args", "future", "kind", "kwargs", "place", "what")

    def __init__(
        self,
        kind: Kind,
        what: str | Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        future: Future[Any] | None = None,
    ) -> None:
        self.kind = kind
        self.what = what
        self.args = args
        self.kwargs = kwargs if kwargs is not None else {}
        self.future: Future[Any] = future if future is not None else Future()

    def __call__(self) -> bool:
        """Ask the call to end, once it was given to a place; False when it has.

        So it is itself what its future asks to stop.
        """
        return self.place.interrupt(self)

    @property
    def name(self) -> str:
        """For messages."""
        return self.what if isinstance(self.what, str) else getattr(self.what, "__name__", "call")


class Informed:
    """Something to be called that knows of its call: a base for those that want to."""

    def tried(self, attempt: int, timeout: float | None) -> Informed:
        """The same for an attempt of the call that has so long."""
        raise NotImplementedError

    def said(self, body: bytes) -> None:
        """Hear what its code says in another process."""
        raise NotImplementedError


def said_of(call: Submission) -> Callable[[bytes], object] | None:
    """Who is to hear what the code of a call says meanwhile: the call itself, or what it calls."""
    what: Any = call.what
    return what.said if isinstance(what, Informed) else getattr(call, "said", None)
