"""What comes of calls in a child process: what they gave, raised, or died of."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from treadle.errors import CallCancelled, WorkerCrashed
from treadle.pools.places.process import wire
from treadle.pools.places.process.birth import Death
from treadle.pools.places.process.errand import Errand
from treadle.pools.places.process.life import REST
from treadle.pools.places.process.parcel import TROUBLE, open_parcel, undecodable
from treadle.pools.places.process.trouble import unpack_error
from treadle.pools.places.process.wire import Frame
from treadle.pools.submission import Submission

__all__ = ["crash_of", "end", "finish", "may_rest"]


def may_rest(pace: float, left: int) -> bool:
    """Whether a child that needs so long for a call may rest with so many to do."""
    return 10 * pace <= REST <= pace * left / 2


def finish(errand: Errand, told: Frame, place: str) -> None:
    """End a call as its child said."""
    call = errand.call
    value: Any = None
    error: BaseException | None = None
    if told.tag == wire.VALUE:
        try:
            value = _value(told, call)
        # Whatever its own code raises here is the end of its call, and told to nobody else.
        except BaseException as broken:  # noqa: BLE001
            error = broken
    elif told.tag == wire.ERROR:
        error = unpack_error(told.body, place)
    if error is None:
        call.future.end(value)
        return
    if isinstance(error, asyncio.CancelledError):
        error = errand.asked or CallCancelled("the call was cancelled")
    end(call, None, error)


def _value(told: Frame, call: Submission) -> Any:
    if told.descriptors:
        return open_parcel(told.body, told.descriptors, f"what {call.name} gave")
    try:
        return pickle.loads(told.body)
    # Whatever the value's own code raises.
    except TROUBLE as error:
        raise undecodable(f"what {call.name} gave", error) from error


def end(call: Submission, value: Any, error: BaseException | None) -> bool:
    """End the future of a call; False when it had ended already."""
    if isinstance(error, CallCancelled):
        return call.future.end_cancelled(str(error))
    return call.future.end(value, error)


def crash_of(name: str, death: Death) -> WorkerCrashed:
    """How a child has ended, for the call that it was carrying out."""
    status = death.status
    return WorkerCrashed(
        f"{name} crashed: {death}",
        worker=name,
        exit_code=status if status is not None and status >= 0 else None,
        signal=-status if status is not None and status < 0 else None,
        oom=death.oom,
    )
