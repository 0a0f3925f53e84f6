"""What all definitions of policies have in common: frozen values that check themselves."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, NoReturn, Self, TypeVar, cast

from treadle.errors import InvalidOption
from treadle.guards import Explained
from treadle.hints import did_you_mean

__all__ = ["Definition", "number", "one_of", "refuse", "whole"]

_D = TypeVar("_D", bound="Definition")
# What all stores can keep.
_MOST = sys.maxsize


class Definition(metaclass=Explained):
    """A frozen value, made and compared by its options.

    A subclass has an attribute for each parameter of its ``__init__``, of the same name, and
    takes the value it holds as an argument. Further attributes are derived from these.
    """

    __slots__ = ()

    synonyms: ClassVar[Mapping[str, str]] = {}
    """Words for the same in other libraries, and the options that they are here."""

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def options(self) -> dict[str, Any]:
        """The options by name."""
        return {name: getattr(self, name) for name in _defaults(type(self))}

    def replace(self, **changes: Any) -> Self:
        """The same definition with other options."""
        return _build(type(self), {**self.options(), **changes})

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(
            f"{type(self).__name__} is frozen; make another one with .replace({name}=…)"
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Definition) or type(other) is not type(self):
            return NotImplemented
        return self.options() == other.options()

    def __hash__(self) -> int:
        return hash((type(self), *self.options().values()))

    def __repr__(self) -> str:
        defaults = _defaults(type(self))
        shown = (
            f"{name}={_show(value)}"
            for name, value in self.options().items()
            if value != defaults[name]
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (type(self), self.options())


_KNOWN: dict[type[Definition], dict[str, Any]] = {}


def number(
    value: Any, option: str, *, least: float = 0.0, above: bool = False, most: float = math.inf
) -> float:
    """A finite number from ``least`` (with ``above``: larger than it) to ``most``."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if fits:
        # A whole number may be too large for any other.
        fits = (
            abs(value) <= sys.float_info.max
            and least <= value <= most
            and not (above and value == least)
        )
    if not fits:
        bound = f"a number {'above' if above else 'from'} {least:g}"
        refuse(option, value, bound if math.isinf(most) else f"{bound} to {most:g}")
    return float(value)


def whole(value: Any, option: str, *, least: int = 0) -> int:
    """A whole number from ``least``, which all stores can keep."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        refuse(option, value, f"a whole number from {least}")
    if value > _MOST:
        refuse(option, value, f"a whole number up to {_MOST}")
    return value


def one_of(
    value: Any, option: str, known: Collection[str], synonyms: Mapping[str, str] | None = None
) -> str:
    """One of the known words; ``synonyms`` are those of other libraries for them."""
    if value not in known:
        meant = did_you_mean(value, known, synonyms)
        refuse(option, value, f"one of {', '.join(known)}{meant}")
    return str(value)


def refuse(option: str, value: Any, wanted: str) -> NoReturn:
    """Raise :class:`InvalidOption` in the form that all definitions use."""
    raise InvalidOption(f"{option}: {value!r} is not {wanted}", option=option, value=value)


def _build(cls: type[_D], options: Mapping[str, Any]) -> _D:
    return cls(**options)


def _defaults(cls: type[Definition]) -> dict[str, Any]:
    """The parameters of a definition, with their defaults."""
    known = _KNOWN.get(cls)
    if known is None:
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        known = _KNOWN[cls] = {parameter.name: parameter.default for parameter in parameters}
    return known


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return f"({', '.join(map(_show, items))}{',' * (len(items) == 1)})"
    if isinstance(value, float):
        return f"{value:g}"
    return value.__qualname__ if hasattr(value, "__qualname__") else repr(value)
