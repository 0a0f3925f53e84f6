"""URLs of stores, whose passwords are never shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from treadle.config import mask
from treadle.errors import InvalidOption
from treadle.guards import unknown_option

__all__ = ["Url", "impossible"]


class Url:
    """The parts of a URL. Its text, by ``str`` and ``repr``, has ``***`` for the password.

    Raises:
        InvalidOption: it is not a URL.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = urlsplit(text)
            self.port: int | None = parts.port
            if "#" in text:  # what follows it would be passed over
                raise ValueError("a fragment")
            if any(letter.isspace() for letter in parts.netloc):
                raise ValueError("a blank")
        except ValueError as error:
            # Neither the text nor what is said of it: they may hold a part of a password.
            raise InvalidOption(
                f"url cannot be read ({type(error).__name__}): write scheme://user:password@"
                "host:port/path, with %2F for / in the password and %23 for # anywhere",
                option="url",
                value="***",
            ) from None
        self.raw = text
        self.scheme = parts.scheme
        self.host = parts.hostname or ""
        self.path = unquote(parts.path)
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.query: dict[str, str] = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._shown = mask(text)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Url({self._shown!r})"

    def integer(self, name: str, given: Any, *, least: int) -> int | None:
        """An option that is a whole number, from the query of the URL, or else as it was given."""
        value: Any = self.query.pop(name, given)
        if value is None:
            return None
        try:
            number = int(value)
            if number >= least:
                return number
        except (TypeError, ValueError):
            pass
        raise InvalidOption(
            f"{name}={value!r} must be a whole number from {least}", option=name, value=value
        )

    def choice(self, name: str, *choices: str) -> str:
        """An option of the query that is one of some words; the first where it is not there."""
        value = self.query.pop(name, choices[0])
        if value not in choices:
            raise impossible(name, value, " or ".join(choices))
        return value

    def patience(self) -> float:
        """The option of the query that says how many seconds something may take."""
        value = self.query.pop("patience", "10")
        if re.fullmatch(r"\d+(\.\d+)?", value) and float(value) > 0:
            return float(value)
        raise impossible("patience", value, "seconds above 0, such as 10")

    def refuse(
        self,
        options: Mapping[str, Any],
        *,
        known: Iterable[str],
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        """Raise for what is left of the options and of the query; synonyms are others' words."""
        for name in (*options, *self.query):
            raise unknown_option(f"{self.scheme}://", name, known, synonyms)


def impossible(name: str, value: object, wanted: str) -> InvalidOption:
    """What is raised for an option that says what cannot be."""
    return InvalidOption(f"{name}={value!r} cannot work: use {wanted}", option=name, value=value)
