"""Arguments of a task as words of a command line."""

from __future__ import annotations

import re
from inspect import signature
from typing import Any

import msgspec

from treadle.errors import InvalidCall, InvalidOption, NotEncodable
from treadle.hints import did_you_mean
from treadle.task import Task

__all__ = ["arguments"]

_NAMED = re.compile(r"([A-Za-z_]\w*)=")


def arguments(
    task: Task[Any, Any], words: list[str], kwargs: str | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as the annotations of the task want them.

    A word is read as JSON, and as text where it is none, or where its parameter takes text.
    """
    names = _names(task)
    by_name = _object(kwargs)
    texts: dict[str, str] = {}
    positional: list[str] = []
    for word in words:
        match = _NAMED.match(word)
        if match and match[1] in names:
            texts[match[1]] = word[match.end() :]
        else:
            positional.append(word)
    values = [_value(word) for word in positional]
    named = {**by_name, **{name: _value(text) for name, text in texts.items()}}
    for _ in range(len(words) + 1):
        try:
            return task.shape.decode(task.shape.from_json(values, named))
        except NotEncodable as error:
            # "5" for a parameter that takes text: it was text all along.
            name = re.split(r"[.\[]", error.path)[0]
            at = names.index(name) if name in names else -1
            if name in texts and named[name] != texts[name]:
                named[name] = texts[name]
            elif 0 <= at < len(positional) and values[at] != positional[at]:
                values[at] = positional[at]
            else:
                _refuse_unknown_name(task, names, positional)
                raise
        except InvalidCall:
            _refuse_unknown_name(task, names, positional)
            raise
    raise AssertionError("every word was tried as text")


def _refuse_unknown_name(task: Task[Any, Any], names: list[str], words: list[str]) -> None:
    """Say of arguments that do not fit which of them has the name of no parameter.

    Text may have a ``=`` too, so this is told only when the call cannot be made.
    """
    for word in words:
        if match := _NAMED.match(word):
            raise InvalidOption(
                f"task {task.name!r} has no parameter {match[1]!r}{did_you_mean(match[1], names)}; "
                f"it takes ({', '.join(names)})",
                option=match[1],
                value=word,
            )


def _names(task: Task[Any, Any]) -> list[str]:
    hidden = {name for name, _ in task.injected}
    return [name for name in signature(task.fn).parameters if name not in hidden]


def _value(word: str) -> Any:
    try:
        return msgspec.json.decode(word)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return word


def _object(text: str | None) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text is not None else {}
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidOption(
            f"--kwargs must be a JSON object such as '{{\"width\": 64}}': {error}",
            option="--kwargs",
            value=text,
        ) from None
