"""What became of jobs by themselves, until an answer has it."""

from __future__ import annotations

from collections import deque
from typing import TypeVar, cast

import msgspec

from treadle.fates import Fate, fates_of, with_fates

__all__ = ["Untold"]

T = TypeVar("T")


class Untold:
    """Fates that this process was told of, in the order in which they came.

    A verb takes more than one step, and some steps are nobody's verb. So what a step says is kept
    here, and the next answer that is given in this process has it. Safe in all threads.
    """

    __slots__ = ("fates",)

    def __init__(self) -> None:
        self.fates: deque[Fate] = deque()

    def kept(self, answer: T) -> T:
        """The answer of one of several stores, without its fates: they are for that of all."""
        fates = fates_of(answer)
        if not fates:
            return answer
        self.fates.extend(fates)
        if isinstance(answer, msgspec.Struct):
            return msgspec.structs.replace(answer, fates=())
        return cast("T", list(cast("list[object]", answer)))

    def beside(self, answer: T) -> T:
        """An answer with all that there is."""
        if not self.fates:
            return answer
        fates: list[Fate] = []
        while self.fates:
            try:
                fates.append(self.fates.popleft())
            except IndexError:  # another thread has them
                break
        return with_fates(answer, fates)
