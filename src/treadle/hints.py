"""The nearest known word to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

__all__ = ["did_you_mean"]


def did_you_mean(
    word: object, known: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> str:
    """`` (did you mean 'retry'?)``, or nothing when no known word is near.

    Args:
        word: what was given.
        known: what would have been right.
        synonyms: words that people bring from elsewhere, and what they are here.
    """
    meant = {name: name for name in known} | dict(synonyms or {})
    near = get_close_matches(str(word), meant, n=1)
    return f" (did you mean {meant[near[0]]!r}?)" if near else ""
