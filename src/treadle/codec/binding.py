"""Arguments by parameter name, bound as a call would bind them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET

from treadle.codec.misfit import class_of
from treadle.errors import InvalidCall
from treadle.hints import did_you_mean

__all__ = ["VARIABLE", "Binder", "parameters_of"]

VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def parameters_of(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of a function, without resolving its annotations."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return dict(inspect.signature(function, annotation_format=Format.FORWARDREF).parameters)
    return dict(inspect.signature(function).parameters)


class Binder:
    """Binds arguments to parameters and leaves out those that are injected.

    ``call`` is a Struct whose constructor does the binding where the parameters allow it,
    because that takes 0.2 µs; :mod:`inspect` does the rest. What is not passed is ``UNSET``.

    Args:
        task: the name of the task, for messages.
        parameters: of the function, injected ones included.
        skip: names of those that are injected.
    """

    def __init__(
        self, task: str, parameters: Mapping[str, Parameter], skip: Collection[str]
    ) -> None:
        self.task = task
        self.injected = frozenset(skip)
        self.parameters = _callable_ones(parameters, self.injected)
        self.required = frozenset(
            name
            for name, parameter in self.parameters.items()
            if parameter.default is Parameter.empty and parameter.kind not in VARIABLE
        )
        self.struct = _struct(self.parameters)
        self.call: Callable[..., Any] = self.struct
        kinds = {parameter.kind for parameter in self.parameters.values()}
        self.plain = kinds.isdisjoint({Parameter.POSITIONAL_ONLY, *VARIABLE})
        if not self.plain:
            self._signature = inspect.Signature(list(self.parameters.values()))
            self.call = self._bound

    def _bound(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.struct(**self._signature.bind(*args, **kwargs).arguments)

    def passed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a valid call by parameter name."""
        call = self.call(*args, **kwargs)
        found = {name: getattr(call, name) for name in self.parameters}
        return {name: value for name, value in found.items() if value is not UNSET}

    def arranged(self, by_name: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments by parameter name as a call needs them.

        Raises:
            ValueError: no call gives these names.
        """
        kind = class_of(by_name)
        if kind is not dict or not by_name.keys() <= self.parameters.keys():
            raise ValueError("these are not the arguments of this function")
        args: list[Any] = []
        named: dict[str, Any] = {}
        more = self._more(by_name)
        for name, parameter in self.parameters.items():
            if name not in by_name:
                if name in self.required:
                    raise ValueError(f"the argument {name!r} is missing")
            elif parameter.kind is Parameter.VAR_POSITIONAL:
                args.extend(by_name[name])
            elif parameter.kind is Parameter.VAR_KEYWORD:
                if not named.keys().isdisjoint(by_name[name]):
                    raise ValueError(f"{name!r} has the name of another parameter")
                named.update(by_name[name])
            elif parameter.kind is Parameter.POSITIONAL_ONLY or (
                more and parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
            ):
                if len(args) != self._by_position().index(name):
                    raise ValueError(f"an argument before {name!r} is missing")
                args.append(by_name[name])
            else:
                named[name] = by_name[name]
        return tuple(args), named

    def _more(self, by_name: Mapping[str, Any]) -> bool:
        """Whether there are arguments beyond the named places, which all have to be filled."""
        return any(
            by_name.get(name)
            for name, parameter in self.parameters.items()
            if parameter.kind is Parameter.VAR_POSITIONAL
        )

    def refuse(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NoReturn:
        """Say what is wrong with a call that could not be bound."""
        problem = (
            self._unexpected(kwargs) or self._too_many(args) or self._twice(args, kwargs)
        ) or self._missing(args, kwargs)
        raise InvalidCall(
            f"task {self.task!r}: {problem}; it takes {self._signature_text()}", task=self.task
        ) from None

    def _signature_text(self) -> str:
        bare = [one.replace(annotation=Parameter.empty) for one in self.parameters.values()]
        return str(inspect.Signature(bare))

    def _by_position(self) -> list[str]:
        kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        return [name for name, parameter in self.parameters.items() if parameter.kind in kinds]

    def _has(self, kind: inspect._ParameterKind) -> bool:
        return any(parameter.kind is kind for parameter in self.parameters.values())

    def _unexpected(self, kwargs: Mapping[str, Any]) -> str | None:
        by_name = [
            name
            for name, parameter in self.parameters.items()
            if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        ]
        if self._has(Parameter.VAR_KEYWORD):
            return None
        for name in kwargs:
            if name in by_name:
                continue
            if name in self.injected:
                return f"{name!r} is injected when the task runs and cannot be passed"
            if name in self.parameters:
                return f"{name!r} is positional-only and cannot be passed by name"
            return f"unexpected keyword argument {name!r}{did_you_mean(name, by_name)}"
        return None

    def _too_many(self, args: tuple[Any, ...]) -> str | None:
        allowed = len(self._by_position())
        if len(args) <= allowed or self._has(Parameter.VAR_POSITIONAL):
            return None
        count = f"{allowed} positional argument{'' if allowed == 1 else 's'}"
        return f"takes {count} but {len(args)} {'was' if len(args) == 1 else 'were'} given"

    def _twice(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        for name in self._by_position()[: len(args)]:
            positional_only = self.parameters[name].kind is Parameter.POSITIONAL_ONLY
            if name in kwargs and not positional_only:
                return f"multiple values for argument {name!r}"
        return None

    def _missing(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        positional = self._by_position()[: len(args)]
        missing = [
            repr(name)
            for name, parameter in self.parameters.items()
            if name in self.required
            and name not in positional
            and (name not in kwargs or parameter.kind is Parameter.POSITIONAL_ONLY)
        ]
        if not missing:
            return "the names of keyword arguments must be strings"
        listed = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
        return f"missing required argument{'s' if missing[1:] else ''} {listed}"


def _callable_ones(
    parameters: Mapping[str, Parameter], injected: Collection[str]
) -> dict[str, Parameter]:
    """Those that a caller may pass.

    After an injected one that has a default, places no longer count as they would in a
    plain call, so what follows is passed by name.
    """
    kept: dict[str, Parameter] = {}
    moved = False
    for name, parameter in parameters.items():
        if name in injected:
            moved = moved or parameter.default is not Parameter.empty
        elif moved and parameter.kind is Parameter.POSITIONAL_OR_KEYWORD:
            kept[name] = parameter.replace(kind=Parameter.KEYWORD_ONLY)
        elif not (moved and parameter.kind is Parameter.VAR_POSITIONAL):
            kept[name] = parameter
    order = sorted(kept, key=lambda name: kept[name].kind)
    return {name: kept[name] for name in order}


def _struct(parameters: Mapping[str, Parameter]) -> type[msgspec.Struct]:
    """A Struct with the parameters as fields; all it does is bind and be encoded."""
    groups: tuple[list[Any], list[Any]] = [], []
    for name, parameter in parameters.items():
        needed = parameter.default is Parameter.empty and parameter.kind not in VARIABLE
        by_name = parameter.kind in (Parameter.KEYWORD_ONLY, *VARIABLE)
        groups[by_name].append((name, Any) if needed else (name, Any, UNSET))
    positional = msgspec.defstruct("Call", groups[0])
    return msgspec.defstruct("Call", groups[1], bases=(positional,), kw_only=True)
