"""What travels for one task: its arguments by name, and its result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from inspect import Parameter
from typing import Any, Self, Unpack, get_args, get_origin

from msgspec import UNSET, UnsetType

from treadle.codec.binding import Binder, parameters_of
from treadle.codec.compiler import Compiler
from treadle.codec.containers import Items, Mapped
from treadle.codec.exts import pack, unpack
from treadle.codec.hints import annotated, enclosing_names, hints_of_function, names_around
from treadle.codec.misfit import Misfit, Walk, class_of
from treadle.codec.natural import unreadable
from treadle.codec.node import ANYTHING, Node
from treadle.codec.pickled import Pickled, pickled, unpickled
from treadle.codec.scalars import Native
from treadle.codec.unions import Union
from treadle.errors import NotDecodable, NotEncodable

__all__ = ["Shape"]

_NONE: frozenset[type] = frozenset({type(None)})
_UNSET: frozenset[type] = frozenset({UnsetType})


class Shape:
    """The types of one task, ready to encode and decode. Thread-safe.

    Annotations are resolved when the first value comes, so that they may name what is
    defined further down.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, skip: Collection[str], *, pickle: bool
    ) -> None:
        self.name = name
        self.pickle = pickle
        self._function = function
        self._binder = Binder(name, parameters_of(function), skip)
        self._call = self._binder.call
        self._local = enclosing_names(function)

    @classmethod
    def of(
        cls,
        fn: Callable[..., Any],
        *,
        skip: Collection[str] = (),
        name: str,
        pickle: bool = False,
    ) -> Self:
        """The shape of a function.

        Args:
            fn: the function of the task.
            skip: parameters that are injected when it runs and never travel.
            name: of the task, for messages.
            pickle: pickle calls and results that have no other encoding. The codec must
                allow it too, and has to sign.
        """
        return cls(fn, name, skip, pickle=pickle)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The arguments of a call, by parameter name. What is not passed is not stored.

        Raises:
            InvalidCall: they cannot be bound to the parameters.
            NotEncodable: one does not fit its annotation, or has no encoding.
        """
        try:
            call = self._call(*args, **kwargs)
        except TypeError:
            self._binder.refuse(args, kwargs)
        for name, sends in self._sends:
            if type(getattr(call, name)) not in sends:
                return self._encode_each(call, args, kwargs)
        try:
            return pack(call)
        except (OverflowError, UnicodeEncodeError):
            return self._encode_each(call, args, kwargs, careful=True)

    def decode(self, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call the function with.

        Raises:
            NotDecodable: for any bytes that are not a call of this function.
        """
        if type(body) is Pickled:
            return self._arranged(self._unpickled(body))
        try:
            wire = unpack(body)
        except Exception as problem:  # noqa: BLE001  any bytes may be there
            raise unreadable(problem) from _cause(problem)
        kind = class_of(wire)
        if kind is not dict:
            raise self._undecodable("the arguments are not a map")
        takes = self._takes
        try:
            for name, value in wire.items():
                if type(value) not in takes[name]:
                    wire[name] = self._lifted(name, self._nodes[name], value)
        except KeyError as stranger:
            raise self._undecodable(f"unknown argument {stranger}") from None
        if len(wire) != len(takes) and not self._required <= wire.keys():
            missing = next(repr(name) for name in self._required if name not in wire)
            raise self._undecodable(f"the argument {missing} is missing")
        return ((), wire) if self._binder.plain else self._arranged(wire)

    def encode_result(self, value: Any) -> bytes:
        """The value that the function returned.

        Raises:
            NotEncodable: it does not fit the annotation, or has no encoding.
        """
        node = self._result
        try:
            if type(value) in node.sends:
                return pack(value)
            return pack(node.lower(value, Walk()))
        except Exception:  # noqa: BLE001  again, with a look at what it was
            return self._encode_result_carefully(value)

    def decode_result(self, body: bytes) -> Any:
        """The value that the function returned.

        Raises:
            NotDecodable: for any bytes that are not a result of this function.
        """
        if type(body) is Pickled:
            return self._unpickled(body)
        try:
            wire = unpack(body)
        except Exception as problem:  # noqa: BLE001  any bytes may be there
            raise unreadable(problem) from _cause(problem)
        node = self._result
        return wire if type(wire) in node.takes else self._lifted("result", node, wire)

    def from_json(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The arguments of a call that was written as JSON.

        Text and arrays become what the annotations ask for: a date, a path, a set, a dataclass.

        Raises:
            InvalidCall: they cannot be bound to the parameters.
            NotEncodable: one cannot be read as its annotation says.
        """
        try:
            call = self._call(*args, **kwargs)
        except TypeError:
            self._binder.refuse(tuple(args), kwargs)
        walk = Walk()
        wire: dict[str, Any] = {}
        for name, node in self._nodes.items():
            raw = getattr(call, name)
            if raw is UNSET:
                continue
            try:
                wire[name] = node.parse(_as_json(raw), walk)
            except Exception as problem:  # noqa: BLE001  classes of users run code of their own
                raise self._refused(name, problem) from _cause(problem)
        positional, named = self._arranged(wire)
        return self.encode(positional, named)

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        hints, compiler = self._hints
        return {
            name: _node_of(parameter, compiler, hints.get(name, Any))
            for name, parameter in self._binder.parameters.items()
        }

    @cached_property
    def _sends(self) -> tuple[tuple[str, frozenset[type]], ...]:
        return tuple(
            (name, node.sends if name in self._required else node.sends | _UNSET)
            for name, node in self._nodes.items()
        )

    @cached_property
    def _takes(self) -> dict[str, frozenset[type]]:
        return {name: node.takes for name, node in self._nodes.items()}

    @cached_property
    def _required(self) -> frozenset[str]:
        return self._binder.required

    @cached_property
    def _result(self) -> Node:
        hints, compiler = self._hints
        return compiler.node(hints.get("return", Any))

    @cached_property
    def _hints(self) -> tuple[dict[str, Any], Compiler]:
        inner = annotated(self._function)
        space = names_around(inner, self._local)
        hints = hints_of_function(inner, [*self._binder.parameters, "return"], space)
        return hints, Compiler(space)

    def _encode_each(
        self,
        call: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        careful: bool = False,
    ) -> bytes:
        """As ``encode``, argument by argument.

        Careful means to look at each number and text as well, because the encoder refused one.
        """
        walk = Walk(careful=careful)
        name = ""
        try:
            for name, sends in self._sends:
                value = getattr(call, name)
                if value is not UNSET and (careful or type(value) not in sends):
                    setattr(call, name, self._nodes[name].lower(value, walk))
            return pack(call)
        except (OverflowError, UnicodeEncodeError) as problem:
            if careful:
                raise self._refused(name, problem) from _cause(problem)
            return self._encode_each(self._call(*args, **kwargs), args, kwargs, careful=True)
        except Exception as problem:  # noqa: BLE001  classes of users run code of their own
            misfit = _as_misfit(problem)
            if self.pickle and misfit.foreign:
                return pickled(self._binder.passed(args, kwargs), self.name)
            raise self._refused(name, problem) from _cause(problem)

    def _encode_result_carefully(self, value: Any) -> bytes:
        try:
            return pack(self._result.lower(value, Walk(careful=True)))
        except Exception as problem:  # noqa: BLE001  classes of users run code of their own
            if self.pickle and _as_misfit(problem).foreign:
                return pickled(value, self.name)
            raise self._refused("result", problem) from _cause(problem)

    def _lifted(self, name: str, node: Node, wire: Any) -> Any:
        try:
            return node.lift(wire, Walk())
        except Exception as problem:  # noqa: BLE001  classes of users run code of their own
            misfit = _as_misfit(problem).under(name)
            raise self._undecodable(f"{misfit.where}: {misfit.reason}", misfit.where) from _cause(
                problem
            )

    def _arranged(self, wire: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            return self._binder.arranged(wire)
        except ValueError as problem:
            raise self._undecodable(str(problem)) from None

    def _unpickled(self, body: Pickled) -> Any:
        if not self.pickle:
            raise self._undecodable("it was pickled, and this task does not take pickles")
        return unpickled(body, self.name)

    def _refused(self, name: str, problem: Exception) -> NotEncodable:
        misfit = _as_misfit(problem).under(name)
        return NotEncodable(
            f"task {self.name!r}: {misfit.where}: {misfit.reason}", path=misfit.where
        )

    def _undecodable(self, reason: str, path: str = "") -> NotDecodable:
        return NotDecodable(f"task {self.name!r}: {reason}", path=path)


def _as_json(raw: Any) -> Any:
    kind = class_of(raw)
    return list(raw) if kind is tuple else raw  # what ``*args`` collected


def _as_misfit(problem: Exception) -> Misfit:
    if isinstance(problem, Misfit):
        return problem
    return Misfit(f"{problem!r:.200}", foreign=True)


def _cause(problem: Exception) -> BaseException | None:
    """What a user wants to see as the reason: not how the codec carries the message up."""
    return problem.__cause__ if isinstance(problem, Misfit) else problem


def _node_of(parameter: Parameter, compiler: Compiler, hint: Any) -> Node:
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return Items(tuple, compiler.node(hint))
    if parameter.kind is Parameter.VAR_KEYWORD:
        if get_origin(hint) is Unpack:
            return compiler.node(get_args(hint)[0])
        return Mapped(dict, Native(str), compiler.node(hint))
    node = compiler.node(hint)
    if parameter.default is None and node is not ANYTHING and not node.classes >= _NONE:
        return Union([node, Native(type(None))])  # ``size: int = None``, as it was once written
    return node
