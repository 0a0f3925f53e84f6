"""What workers in the mode ``ray`` need of a cluster: the option ``ray={…}``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypedDict

import msgspec

from treadle.errors import InvalidOption, UnknownOption
from treadle.hints import did_you_mean

__all__ = ["RayNeeds", "RayOptions", "read_ray_options", "refuse_without_ray"]


class RayOptions(TypedDict, total=False):
    """What the option ``ray`` takes. Ray's own documentation says more of each."""

    # The cluster, when this process is in none yet: as for ``ray.init``. By default that of
    # RAY_ADDRESS, else one on this machine.
    address: str
    # What each worker takes of its node for as long as it lives.
    num_cpus: float
    num_gpus: float
    resources: Mapping[str, float]
    # The environment of the workers: packages, variables, files.
    runtime_env: Mapping[str, Any]


class RayNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """The same, read."""

    address: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: dict[str, float] = {}
    runtime_env: dict[str, Any] = {}

    @property
    def amounts(self) -> dict[str, float]:
        """What a worker takes, by Ray's names."""
        plain = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        return {**{name: some for name, some in plain.items() if some}, **self.resources}

    @property
    def key(self) -> str:
        """The same for the same needs."""
        return msgspec.json.encode(self, enc_hook=repr, order="deterministic").decode()


_KNOWN = tuple(RayNeeds.__struct_fields__)


def read_ray_options(value: Any) -> RayNeeds:
    """The needs that a caller gave.

    Raises:
        UnknownOption: one that does not exist.
        InvalidOption: a value that cannot work.
    """
    if isinstance(value, RayNeeds):
        return value
    if not isinstance(value, Mapping):
        raise _wrong("", value, f"a mapping of {', '.join(_KNOWN)}")
    items = _pairs(value)
    given: dict[str, Any] = {}
    for name, one in items.items():
        if name not in _KNOWN:
            raise UnknownOption(f"no option {name!r} in ray={{…}}{did_you_mean(str(name), _KNOWN)}")
        given[name] = _READERS[name](name, one)
    return RayNeeds(**given)


def refuse_without_ray(mode: str, given: Collection[str]) -> None:
    """Return when the option may be given.

    Raises:
        InvalidOption: it was, for another mode.
    """
    if "ray" in given and mode != "ray":
        raise InvalidOption(f"the option ray is of mode='ray', not of {mode!r}", option="ray")


def _wrong(name: str, value: Any, wanted: str) -> InvalidOption:
    option = f"ray[{name!r}]" if name else "ray"
    return InvalidOption(f"{option}={value!r} has to be {wanted}", option=option, value=value)


def _pairs(value: Any) -> Mapping[Any, Any]:
    pairs: Mapping[Any, Any] = value
    return pairs


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(name, value, 'the address of a cluster, such as "auto" or "host:6379"')
    return value


def _amount(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
        raise _wrong(name, value, "a number from 0 on")
    if value > 1 and value != int(value):
        raise _wrong(name, value, "a whole number, or a part of one")
    return value


def _amounts(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "a mapping of names to numbers")
    plain = {"CPU": "num_cpus", "GPU": "num_gpus"}
    items = _pairs(value)
    for one in items:
        if one in plain:
            raise _wrong(name, value, f"of other resources; {one} is {plain[one]}")
    return {str(one): _amount(name, some) for one, some in items.items()}


def _environment(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "a mapping, as for ray.init")
    items = _pairs(value)
    return {str(one): some for one, some in items.items()}


_READERS: dict[str, Any] = {
    "address": _text,
    "num_cpus": _amount,
    "num_gpus": _amount,
    "resources": _amounts,
    "runtime_env": _environment,
}
