"""What a step of a store has made of jobs by itself, and how its answer says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec

from treadle.records import Cause, JobState

__all__ = ["Answers", "Fate", "fates_of", "with_fates"]

A = TypeVar("A")
T = TypeVar("T")


class Fate(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A job that has ended by itself, or goes back after a crash; nobody's verdict says so."""

    id: str
    task: str
    queue: str
    # ``failed``, ``cancelled``, or ``queued``: it has crashed and runs once more.
    state: JobState
    # Why it failed, or its attempt ended.
    cause: Cause | None = None
    # Number of the attempt that ended with it; ``None`` when none was under way.
    attempt: int | None = None
    # This one counted.
    crashes: int = 0
    # Of a dependant, for which job it waited: ``after:<id>``.
    reason: str = ""


class Answers(list[A]):
    """Answers in order, of a step in which jobs have ended by themselves."""

    __slots__ = ("fates",)

    def __init__(self, answers: Sequence[A], fates: Sequence[Fate]) -> None:
        super().__init__(answers)
        self.fates = tuple(fates)


def with_fates(answer: T, fates: Sequence[Fate]) -> T:
    """The answer of a verb, with what its step made of jobs by itself.

    Args:
        answer: one with the field ``fates``, a list of answers, or nothing but fates.
        fates: in the order in which they came.
    """
    if not fates:
        return answer
    known = fates_of(answer)
    if isinstance(answer, msgspec.Struct):
        return msgspec.structs.replace(answer, fates=(*known, *fates))
    if isinstance(answer, list):
        return cast("T", Answers(cast("list[Any]", answer), (*known, *fates)))
    return cast("T", (*cast("tuple[Fate, ...]", answer), *fates))


def fates_of(answer: object) -> tuple[Fate, ...]:
    """The jobs that ended by themselves in the step that gave an answer."""
    fates: tuple[Fate, ...] = getattr(answer, "fates", ())
    return fates
