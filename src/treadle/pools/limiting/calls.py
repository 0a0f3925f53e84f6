"""The limits of a pool, as its calls take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from treadle.clock import Clock
from treadle.errors import InvalidCall
from treadle.policies.limitset import Limits, Wanted
from treadle.pools.limiting.acquisition import Request
from treadle.pools.limiting.limitpool import LimitPool
from treadle.pools.limiting.limitset import LIMITS, LimitSet
from treadle.pools.submission import Kind, Submission

__all__ = ["CallLimits"]


class CallLimits:
    """What each call of a pool takes, and what its code is given to take more.

    Args:
        limits: a set that others may share, several of them, or definitions that become a set of
            the pool's own.
        cls: the class of the workers.
        clock: of the pool, for a set of its own.
    """

    def __init__(self, limits: Limits | LimitPool, cls: type[Any] | None, clock: Clock) -> None:
        self.set: LimitSet | LimitPool = (
            limits if isinstance(limits, LimitSet | LimitPool) else LimitSet(*limits, clock=clock)
        )
        # Whether the worker has to be known before the limits can be taken.
        self.per_worker = self.set.per_worker
        self._reads = not self.set.static
        self._cls = cls

    def request(self, call: Submission, worker: int | None) -> Request:
        """What a call takes.

        Raises:
            InvalidCall: a limit reads the arguments, and they do not fit the function.
        """
        arguments: Mapping[str, Any] = self._arguments(call) if self._reads else {}
        return self.set.request(Wanted(arguments=arguments, worker=worker, asker=call.name))

    def attributes(self, worker: int) -> dict[str, Any]:
        """What a worker is given."""
        return {"limits": self.set.inside(worker)}

    def given(self, call: Submission, worker: int | None) -> dict[str, Any]:
        """The arguments of a call, with the set where the function asks for it by ``LIMITS``."""
        wanted = _asking(self._code(call))
        missing = [name for name in wanted if name not in call.kwargs]
        if not missing:
            return call.kwargs
        return {**call.kwargs, **dict.fromkeys(missing, self.set.inside(worker))}

    def _code(self, call: Submission) -> Callable[..., Any] | None:
        if isinstance(call.what, str):
            return getattr(self._cls, call.what, None)
        return call.what

    def _arguments(self, call: Submission) -> Mapping[str, Any]:
        code = self._code(call)
        signature = None if code is None else _signature(code)
        if signature is None:
            return call.kwargs
        # Where a worker comes first, something stands for it.
        first = () if call.kind == Kind.FUNCTION else (None,)
        try:
            bound = signature.bind(*first, *call.args, **call.kwargs)
        except TypeError as error:
            raise InvalidCall(f"{call.name}: {error}") from error
        bound.apply_defaults()
        return bound.arguments


def _signature(code: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return _signatures(code)
    except (TypeError, ValueError):  # a builtin says nothing of itself
        return None


@lru_cache(maxsize=1024)
def _signatures(code: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(code)


def _asking(code: Callable[..., Any] | None) -> tuple[str, ...]:
    signature = None if code is None else _signature(code)
    if signature is None:
        return ()
    return tuple(
        name for name, parameter in signature.parameters.items() if parameter.default is LIMITS
    )
