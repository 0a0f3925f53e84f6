"""What helps the reader of an error: the value it is about, the nearest known word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from reprlib import Repr

__all__ = ["did_you_mean", "missing", "nearest", "shown"]

_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 200

_LONGEST = 100
"""Characters of a word that are compared; more takes long and helps nobody."""


def shown(value: object) -> str:
    """A value as Python writes it, without most of what is long or nested deep."""
    return _short.repr(value)


def did_you_mean(
    word: object, known: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> str:
    """`` (did you mean 'retry'?)``, or nothing when no known word is near.

    Args:
        word: what was given.
        known: what would have been right.
        synonyms: words that people bring from elsewhere, and what they are here; nothing for what
            there is not.
    """
    meant = {name: name for name in known} | dict(synonyms or {})
    near = nearest(word, meant)
    return f" (did you mean {meant[near]!r}?)" if near and meant[near] else ""


def missing(
    what: str, thing: object, name: str, synonyms: Mapping[str, str] | None = None
) -> AttributeError:
    """The error for an attribute that a thing has not, with the nearest that it has.

    Args:
        what: it is called.
        thing: the object.
        name: of the attribute.
        synonyms: as in :func:`did_you_mean`.
    """
    hint = ""
    # Others are asked for by what copies and inspects.
    if not name.startswith("_"):
        known = [one for one in dir(type(thing)) if not one.startswith("_")]
        hint = did_you_mean(name, known, synonyms)
    return AttributeError(f"{what} has no {name!r}{hint}", name=name, obj=thing)


def nearest(word: object, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The known word that is most like the one given, or ``None`` when none is near.

    Args:
        word: what was given.
        known: what would have been right.
        likeness: from 0 (anything will do) to 1 (only the word itself).
    """
    near = get_close_matches(str(word)[:_LONGEST], list(known), n=1, cutoff=likeness)
    return near[0] if near else None
