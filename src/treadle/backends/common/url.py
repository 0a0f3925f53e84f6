"""URLs of stores, whose passwords are never shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from treadle.errors import InvalidOption, UnknownOption
from treadle.hints import did_you_mean

__all__ = ["Url"]


class Url:
    """The parts of a URL. Its text, by ``str`` and ``repr``, has ``***`` for the password.

    Raises:
        InvalidOption: it is not a URL.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = urlsplit(text)
            self.port: int | None = parts.port
        except ValueError as error:
            # Not the text: it may hold a password.
            raise InvalidOption(f"url cannot be read: {error}", option="url", value="***") from None
        self.raw = text
        self.scheme = parts.scheme
        self.host = parts.hostname or ""
        self.path = unquote(parts.path)
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.query: dict[str, str] = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._shown = _hidden(parts) if parts.password else text

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Url({self._shown!r})"

    def integer(self, name: str, given: Any, *, least: int) -> int | None:
        """An option that is a whole number, as it was given or from the query of the URL."""
        value = self.query.pop(name, None) if given is None else given
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

    def refuse(self, options: Mapping[str, Any], *, known: Iterable[str]) -> None:
        """Raise for what is left of the options and of the query."""
        names = tuple(known)
        for name in (*options, *self.query):
            raise UnknownOption(
                f"{self.scheme}:// has no option {name!r}{did_you_mean(name, names)}. "
                f"Known options: {', '.join(names)}",
                option=name,
                known=names,
            )


def _hidden(parts: SplitResult) -> str:
    login, _, place = parts.netloc.rpartition("@")
    user = login.split(":", 1)[0]
    return parts._replace(netloc=f"{user}:***@{place}").geturl()
