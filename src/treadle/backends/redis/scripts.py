"""The scripts that the store carries out, composed of the files in ``lua/``.

A script is one atomic step. Its file names what it is made of, one a line, before anything else::

    --@ include record

The fragment of that name is put in front of it, once, after those that it includes itself.

A fragment may end with::

    --@ enclose

Then all that comes after it stands in a function of its own. A script makes its functions anew
each time it is run, and for each local of the same function that one of them uses, Lua goes
through the list of all that are in use so far; those of a function around it cost nothing.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

import msgspec

__all__ = ["Script", "commands", "compose", "script"]

_INCLUDE = re.compile(r"^--@ include ([a-z_]+)$", re.MULTILINE)
_ENCLOSE = re.compile(r"^--@ enclose\n\Z", re.MULTILINE)
_CALL = re.compile(r"\bcall\('([A-Z]+)'")
_COMMENT = re.compile(r"^[ \t]*--.*\n|^\s*\n", re.MULTILINE)


class Script(msgspec.Struct, frozen=True):
    """A script and the name by which a server knows it."""

    name: str
    source: bytes
    sha: str


@cache
def script(name: str) -> Script:
    """The script in ``lua/<name>.lua`` with all that it includes."""
    # What nobody reads on a server is not sent there.
    source = _COMMENT.sub("", compose(name)).encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()
    return Script(name, source, sha)


@cache
def commands() -> tuple[str, ...]:
    """Names of the commands that scripts carry out."""
    folder = files("treadle.backends.redis").joinpath("lua")
    texts = [one.read_text(encoding="utf-8") for one in folder.iterdir()]
    return tuple(sorted({name for text in texts for name in _CALL.findall(text)}))


def compose(name: str) -> str:
    """The text of a script, each fragment once and before who includes it."""
    whole, depth = "", 0
    for one in _order(name, ()):
        text, enclosing = _ENCLOSE.subn("return (function()\n", _text(one))
        whole += f"--- {one}\n{text}"
        depth += enclosing
    return whole + "end)()\n" * depth


def _order(name: str, path: tuple[str, ...]) -> list[str]:
    if name in path:
        raise ValueError(f"lua fragments include each other: {' -> '.join((*path, name))}")
    found: dict[str, None] = {}
    for one in _INCLUDE.findall(_text(name)):
        found.update(dict.fromkeys(_order(one, (*path, name))))
    return [*found, name]


@cache
def _text(name: str) -> str:
    return (
        files("treadle.backends.redis").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    )
