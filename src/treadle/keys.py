"""Keys made from the arguments of a call: ``key="user:{user_id}"``, ``unique=["order"]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from string import Formatter
from typing import Any, Literal, TypeAlias

import msgspec

from treadle.errors import InvalidCall, InvalidOption
from treadle.guards import is_iterable, is_text
from treadle.hints import did_you_mean
from treadle.policies.arguments import Reader

__all__ = ["KeyLike", "KeyRule", "key_rule"]

KeyLike: TypeAlias = str | Callable[..., str | None] | Sequence[str]
"""A template over the parameters, a function of some of them, or the names of some."""

KeyRule: TypeAlias = Callable[[Mapping[str, Any]], str | None]
"""The key of a call from its arguments by name, defaults included; ``None`` for none."""

_LONGEST = 200


def key_rule(
    value: KeyLike | Literal[True], *, option: str, task: str, parameters: Sequence[str]
) -> KeyRule:
    """How the key of a call is made.

    A template or a function gives the key itself, which all tasks share. Names of parameters,
    and ``True`` for all of them, give a key of this task only.

    Args:
        value: what the option holds.
        option: ``"key"`` or ``"unique"``, for messages.
        task: name of the task.
        parameters: names of its parameters, without injected ones.

    Raises:
        InvalidOption: it names what is not a parameter, or is something else.
    """
    where = f"task {task!r}: {option}"
    if value is True:
        return _Digest(task, tuple(parameters))
    if isinstance(value, str):
        return _Template(value, _fields(value, where, option, parameters))
    if callable(value):
        reader = Reader(value, option)
        reader.check(parameters, f"task {task!r}")
        return _Function(reader, task)
    names = tuple(value) if is_iterable(value) else ()
    if names:
        for name in names:
            _check_name(name, where, option, parameters)
        return _Digest(task, names)
    raise InvalidOption(
        f"{where}={value!r} is not a key; give a template such as 'user:{{user_id}}', a function "
        "of some of the parameters, or a list of their names",
        option=option,
        value=value,
    )


class _Template:
    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._text = text
        self._constant = None if names else _bounded(text.format())

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        if self._constant is not None:
            return self._constant
        try:
            return _bounded(self._text.format_map(arguments))
        except (AttributeError, LookupError, ValueError, TypeError) as error:
            raise InvalidCall(
                f"the key {self._text!r} cannot be made of these arguments: {error}"
            ) from error


class _Function:
    def __init__(self, reader: Reader, task: str) -> None:
        self._reader = reader
        self._task = task

    def __call__(self, arguments: Mapping[str, Any]) -> str | None:
        key = self._reader.read(arguments, self._task)
        if key is None:
            return None
        if not isinstance(key, str) or not key:
            raise InvalidCall(
                f"the function for the key gave {key!r}; it gives a text, or None for no key"
            )
        return _bounded(key)


class _Digest:
    def __init__(self, task: str, names: tuple[str, ...]) -> None:
        self._task = task
        self._names = names

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        values = [arguments[name] for name in self._names]
        try:
            body = _canonical.encode(values)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidCall(
                f"no key can be made of {', '.join(self._names)} of task {self._task!r} "
                f"({error}); give a template such as 'user:{{user_id}}'"
            ) from error
        return f"{self._task}:{blake2b(body, digest_size=16).hexdigest()}"


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # a pydantic model
    if dump is not None:
        return dump(mode="json")
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise TypeError(f"a {type(value).__name__} has no order of its parts")


_canonical = msgspec.msgpack.Encoder(enc_hook=_plain, order="deterministic")


def _bounded(key: str) -> str:
    """The key, its end replaced by a digest when it is long or not all of it can be seen."""
    if is_text(key, _LONGEST):
        return key
    if not key:
        raise InvalidCall("the key of a job is empty; give a text, or None for no key")
    seen = "".join(char if char.isprintable() else "?" for char in key[: _LONGEST - 33])
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16)
    return f"{seen}:{digest.hexdigest()}"


def _fields(text: str, where: str, option: str, parameters: Sequence[str]) -> frozenset[str]:
    try:
        fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise InvalidOption(
            f"{where}={text!r} is not a template: {error}", option=option, value=text
        ) from error
    roots = {field.partition(".")[0].partition("[")[0] for field in fields}
    for root in roots:
        _check_name(root, where, option, parameters)
    return frozenset(roots)


def _check_name(name: str, where: str, option: str, parameters: Sequence[str]) -> None:
    if name in parameters:
        return
    hint = did_you_mean(name, parameters)
    known = f"its parameters are: {', '.join(parameters)}" if parameters else "it has none"
    raise InvalidOption(
        f"{where}: the task has no parameter {name!r}{hint}; {known}", option=option, value=name
    )
