"""What travels for one task: its arguments by name, and its result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from inspect import Parameter
from typing import Any, NamedTuple, Self, Unpack, get_args, get_origin

from msgspec import UNSET, UnsetType

from treadle.codec.binding import VARIABLE, Binder, parameters_of
from treadle.codec.compiler import Compiler
from treadle.codec.containers import Items, Mapped
from treadle.codec.exts import pack, unpack
from treadle.codec.hints import annotated, enclosing_names, hints_of_function, names_around
from treadle.codec.misfit import Misfit, Walk
from treadle.codec.natural import read
from treadle.codec.node import ANYTHING, Node
from treadle.codec.pickled import Pickled, pickled, unpickled
from treadle.codec.scalars import Native
from treadle.codec.unions import Union
from treadle.errors import NotDecodable, NotEncodable

__all__ = ["Shape"]

_UNSET: frozenset[type] = frozenset({UnsetType})


class _Plan(NamedTuple):
    name: str
    sends: frozenset[type]
    takes: frozenset[type]
    node: Node
    required: bool


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
        walk: Walk | None = None
        for name, sends, _, node, _ in self._plans:
            value = getattr(call, name)
            if type(value) not in sends:
                walk = walk or Walk()
                try:
                    setattr(call, name, node.lower(value, walk))
                except Exception as problem:
                    return self._fallback(args, kwargs, name, problem)
        try:
            return pack(call)
        except (OverflowError, UnicodeEncodeError):
            return self._encode_carefully(args, kwargs)

    def decode(self, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call the function with.

        Raises:
            NotDecodable: for any bytes that are not a call of this function.
        """
        if type(body) is Pickled:
            return self._arranged(self._unpickled(body))
        try:
            wire = unpack(body)
        except Exception:
            wire = read(body)
        if type(wire) is not dict:
            raise self._undecodable("the arguments are not a map")
        walk: Walk | None = None
        plans = self._plans
        absent = 0
        for name, _, takes, node, required in plans:
            value = wire.get(name, UNSET)
            if type(value) in takes:
                continue
            if value is UNSET:
                if required:
                    raise self._undecodable(f"the argument {name!r} is missing")
                absent += 1
                continue
            walk = walk or Walk()
            wire[name] = self._lifted(name, node, value, walk)
        if len(wire) + absent != len(plans):
            raise self._undecodable(f"unknown arguments: {self._strangers(wire)}")
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
        except Exception:
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
        except Exception:
            wire = read(body)
        node = self._result
        return wire if type(wire) in node.takes else self._lifted("result", node, wire, Walk())

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
        for name, _, _, node, _ in self._plans:
            raw = getattr(call, name)
            if raw is UNSET:
                continue
            try:
                wire[name] = node.parse(list(raw) if type(raw) is tuple else raw, walk)
            except Misfit as misfit:
                raise self._unencodable(misfit.under(name)) from None
        positional, named = self._arranged(wire)
        return self.encode(positional, named)

    @cached_property
    def _plans(self) -> tuple[_Plan, ...]:
        hints, compiler = self._hints
        plans: list[_Plan] = []
        for name, parameter in self._binder.parameters.items():
            node = _node_of(parameter, compiler, hints.get(name, Any))
            required = parameter.default is Parameter.empty and parameter.kind not in VARIABLE
            also = frozenset[type]() if required else _UNSET
            plans.append(_Plan(name, node.sends | also, node.takes, node, required))
        return tuple(plans)

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

    def _fallback(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str, problem: Exception
    ) -> bytes:
        """Another way to encode a call after one argument could not be lowered."""
        if isinstance(problem, OverflowError | UnicodeEncodeError):
            return self._encode_carefully(args, kwargs)
        misfit = _as_misfit(problem)
        if self.pickle and misfit.foreign:
            return pickled(self._binder.passed(args, kwargs), self.name)
        raise self._unencodable(misfit.under(name)) from (
            problem if misfit is not problem else None
        )

    def _encode_carefully(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """As ``encode``, with a look at each number and text: the encoder refused one."""
        call = self._call(*args, **kwargs)
        walk = Walk(careful=True)
        for name, _, _, node, _ in self._plans:
            value = getattr(call, name)
            if value is UNSET:
                continue
            try:
                setattr(call, name, node.lower(value, walk))
            except Misfit as misfit:
                raise self._unencodable(misfit.under(name)) from None
        return pack(call)

    def _encode_result_carefully(self, value: Any) -> bytes:
        try:
            return pack(self._result.lower(value, Walk(careful=True)))
        except Exception as problem:
            misfit = _as_misfit(problem)
            if self.pickle and misfit.foreign:
                return pickled(value, self.name)
            raise self._unencodable(misfit.under("result")) from (
                problem if misfit is not problem else None
            )

    def _lifted(self, name: str, node: Node, wire: Any, walk: Walk) -> Any:
        try:
            return node.lift(wire, walk)
        except Misfit as misfit:
            where = misfit.under(name).where
            raise self._undecodable(f"{where}: {misfit.reason}", where) from misfit.__cause__
        except Exception as problem:
            raise self._undecodable(f"{name}: {problem!r:.200}", name) from problem

    def _arranged(self, wire: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            return self._binder.arranged(wire)
        except ValueError as problem:
            raise self._undecodable(str(problem)) from None

    def _unpickled(self, body: Pickled) -> Any:
        if not self.pickle:
            raise self._undecodable("it was pickled, and this task does not take pickles")
        return unpickled(body, self.name)

    def _strangers(self, wire: dict[Any, Any]) -> str:
        known = self._binder.parameters
        return ", ".join(f"{name!r:.60}" for name in wire if name not in known)

    def _unencodable(self, misfit: Misfit) -> NotEncodable:
        return NotEncodable(
            f"task {self.name!r}: {misfit.where}: {misfit.reason}", path=misfit.where
        )

    def _undecodable(self, reason: str, path: str = "") -> NotDecodable:
        return NotDecodable(f"task {self.name!r}: {reason}", path=path)


def _as_misfit(problem: Exception) -> Misfit:
    if isinstance(problem, Misfit):
        return problem
    return Misfit(f"cannot be encoded: {problem!r:.200}", foreign=True)


def _node_of(parameter: Parameter, compiler: Compiler, hint: Any) -> Node:
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return Items(tuple, compiler.node(hint))
    if parameter.kind is Parameter.VAR_KEYWORD:
        if get_origin(hint) is Unpack:
            return compiler.node(get_args(hint)[0])
        return Mapped(dict, Native(str), compiler.node(hint))
    node = compiler.node(hint)
    if parameter.default is None and node is not ANYTHING:
        return Union([node, Native(type(None))])  # ``size: int = None``, as it was once written
    return node
