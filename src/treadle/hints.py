"""The nearest known word to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

__all__ = ["did_you_mean", "nearest"]


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
    near = nearest(word, meant)
    return f" (did you mean {meant[near]!r}?)" if near else ""


def nearest(word: object, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The known word that is most like the one given, or ``None`` when none is near.

    Args:
        word: what was given.
        known: what would have been right.
        likeness: from 0 (anything will do) to 1 (only the word itself).
    """
    near = get_close_matches(str(word), list(known), n=1, cutoff=likeness)
    return near[0] if near else None
