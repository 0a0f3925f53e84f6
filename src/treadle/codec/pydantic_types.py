"""Models and other types of pydantic, once the user's code has imported it."""

from __future__ import annotations

import sys
from inspect import signature
from typing import Any

from treadle.codec.exts import Tagged
from treadle.codec.misfit import Misfit, Walk
from treadle.codec.node import Node

__all__ = ["Pydantic", "is_pydantic"]


def is_pydantic(annotation: Any) -> bool:
    """Whether pydantic has to validate it; never imports pydantic."""
    return (
        "pydantic" in sys.modules
        and isinstance(annotation, type)
        and hasattr(annotation, "__get_pydantic_core_schema__")
    )


class Pydantic(Node):
    """A type that pydantic writes as JSON, and validates when it comes back."""

    def __init__(self, kind: type, label: str) -> None:
        self._kind = kind
        self.label = label
        self.classes = frozenset({kind})
        pydantic = sys.modules["pydantic"]
        self._adapter: Any = pydantic.TypeAdapter(kind)
        # Before 2.8 a value that is wrong for its field is only found when it is read again.
        self._tells = tuple(map(int, pydantic.VERSION.split(".")[:2])) >= (2, 8)
        # By field name both ways, whatever aliases a model has; before 2.11 it knew one way.
        by_name = "by_name" in signature(self._adapter.validate_json).parameters
        self._names: dict[str, Any] = {"by_alias": False, "by_name": True} if by_name else {}

    def lower(self, value: Any, walk: Walk) -> Any:
        if type(value) is not self._kind:
            raise self.misfit(value)
        try:
            text = self._adapter.dump_json(
                value,
                round_trip=True,
                by_alias=not self._names,
                warnings="error" if self._tells else False,
            )
            if not self._tells:
                self._adapter.validate_json(text)
        except Exception as error:
            raise Misfit(_first_line(error), foreign=True) from error
        return text.decode()

    def lift(self, wire: Any, walk: Walk) -> Any:
        if type(wire) is Tagged and wire.label == self.label:
            wire = wire.value
        if type(wire) is not str:
            raise self.misfit(wire)
        try:
            return self._adapter.validate_json(wire, **self._names)
        except Exception as error:
            raise Misfit(_first_line(error)) from error

    def parse(self, raw: Any, walk: Walk) -> Any:
        try:
            return self._adapter.validate_python(raw)
        except Exception as error:
            raise Misfit(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"pydantic: {'; '.join(lines[:4]):.300}"
