"""How a call is carried out in a child, other than directly."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec

from treadle.errors import CallCancelled, Unsupported, WorkerCrashed
from treadle.pools.places.process.groups import LINUX, end_group
from treadle.pools.places.process.parcel import pack, unpack
from treadle.pools.places.process.terms import Terms
from treadle.pools.places.process.trouble import pack_error, unpack_error

__all__ = ["Manner", "manner_of"]

_VALUE, _ERROR = b"v", b"e"


class Manner(msgspec.Struct, frozen=True):
    """Around a call, and whether in a fork. Travels to the child."""

    fork: bool
    around: tuple[Callable[[], Any], ...]

    def carry_out(self, perform: Callable[[], Any]) -> Any:
        """What a call returned."""
        if self.fork:
            return _forked(lambda: self._within(perform))
        return self._within(perform)

    def _within(self, perform: Callable[[], Any]) -> Any:
        with ExitStack() as stack:
            for make in self.around:
                stack.enter_context(make())
            return perform()


def manner_of(terms: Terms) -> Manner | None:
    """Most calls are carried out directly, and pay nothing for those that are not."""
    return Manner(terms.fork, terms.around) if terms.fork or terms.around else None


def _forked(perform: Callable[[], Any]) -> Any:
    """What a function returned in a fork of this process, which has ended when this returns.

    Whatever the function leaves behind is gone with it, processes that it has started included.

    Raises:
        Unsupported: there are other threads, whose locks a fork would hold for ever.
        WorkerCrashed: the fork died.
    """
    others = [one.name for one in threading.enumerate() if one is not threading.current_thread()]
    if others:
        raise Unsupported(
            f"fork=True needs a process without other threads, and here are {', '.join(others)}; "
            "leave the option away, or have the worker start none",
            feature="fork",
        )
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        if LINUX:
            os.setpgid(0, 0)
        os.close(reading)
        _tell(writing, perform)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
    except BaseException as asked:  # the call has to end: this process need not
        os.kill(pid, signal.SIGKILL)
        raise CallCancelled("the fork of the call was ended") from asked
    finally:
        if LINUX:
            end_group(pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if told[:1] == _VALUE:
        return unpack(told[1:], "the result")
    if told[:1] == _ERROR:
        raise unpack_error(told[1:], "a fork")
    reason = f"signal {-status}" if status < 0 else f"exit status {status}"
    raise WorkerCrashed(
        f"the fork of the call ended with {reason}",
        exit_code=status if status >= 0 else None,
        signal=-status if status < 0 else None,
    )


def _tell(writing: int, perform: Callable[[], Any]) -> None:
    """In the fork: carry out, tell, end."""
    try:
        try:
            told = _VALUE + pack(perform(), "the result", whole=True).body
        except BaseException as error:  # noqa: BLE001 - it is the end of the call
            told = _ERROR + pack_error(error)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(told)
    finally:
        if LINUX:
            # What it has started may keep the pipe open.
            end_group(os.getpid())
        os._exit(0)
