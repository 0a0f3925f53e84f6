"""What options by value read from the arguments of a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from treadle.errors import InvalidOption

__all__ = ["By", "Reader"]

By: TypeAlias = str | Callable[..., Any]
"""Name of a parameter of the task, or a function of those of its parameters that it names."""


class Reader:
    """Reads one value from the arguments of a call.

    Args:
        by: the name of a parameter, or a function that names the parameters it is called with.
        option: the option it is given to, for messages.
    """

    __slots__ = ("_by", "_everything", "_optional", "_option", "_required", "name")

    def __init__(self, by: By, option: str) -> None:
        self._by = by
        self._option = option
        self._everything = False
        self._required: list[str] = []
        self._optional: list[str] = []
        # What the value is called in the key of a limit.
        self.name: str = by if isinstance(by, str) else getattr(by, "__name__", type(by).__name__)
        if isinstance(by, str):
            self._required.append(by)
        else:
            self._learn(by)

    def read(self, arguments: Mapping[str, Any], owner: str) -> Any:
        """The value for these arguments; defaults have to be among them.

        Args:
            arguments: by the names of their parameters.
            owner: whose they are; nothing for a block of code.
        """
        self.check(arguments, owner)
        if isinstance(self._by, str):
            return arguments[self._by]
        if self._everything:
            return self._by(**arguments)
        names = (*self._required, *(name for name in self._optional if name in arguments))
        return self._by(**{name: arguments[name] for name in names})

    def check(self, parameters: Collection[str], owner: str) -> None:
        """Refuse a task that does not have the parameters to read."""
        missing = [name for name in self._required if name not in parameters]
        if missing:
            raise InvalidOption(
                f"{self._option}: {owner} has no parameter {missing[0]!r}; its parameters: "
                f"{', '.join(parameters) or 'none'}"
                if owner
                else f"{self._option}: there is no argument {missing[0]!r} among those that the "
                f"block names; name it: acquire(…, arguments={{{missing[0]!r}: …}})",
                option=self._option,
                value=self._by,
            )

    def _learn(self, function: Callable[..., Any]) -> None:
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                self._everything = True
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise InvalidOption(
                    f"{self._option}: {function!r} takes {parameter} by position; let it name "
                    "the parameters of the task that it reads, such as lambda tenant: …",
                    option=self._option,
                    value=function,
                )
            elif parameter.default is parameter.empty:
                self._required.append(parameter.name)
            else:
                self._optional.append(parameter.name)
