"""What the demo works on: the Python files of this machine."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

__all__ = ["ENOUGH", "Inputs", "find"]

ENOUGH = 1500
"""Files that make a demo."""

# In the test suite of CPython: files that no Python can read, on purpose.
_BROKEN_ON_PURPOSE = frozenset(
    {"bad_coding.py", "bad_coding2.py", "badsyntax_3131.py", "badsyntax_pep3120.py"}
)
_SITES = frozenset({"site-packages", "dist-packages"})
_OURS = {
    "broken_syntax.py": b"def broken(:\n    return 1\n",
    "broken_encoding.py": b"# -*- coding: no-such-encoding -*-\nx = 1\n",
    "broken_bytes.py": b"name = '\xff\xfe'\n",
}


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The files, and where they come from."""

    library: tuple[Path, ...]
    # Of installed packages, where the library is small.
    packages: tuple[Path, ...] = ()
    # Made by the demo, where the library has no files that are broken on purpose.
    added: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.library + self.packages + self.added

    def describe(self) -> str:
        """One line for people."""
        text = f"{len(self.library):,} files of the standard library of Python {_version()}"
        if self.packages:
            text += f", {len(self.packages):,} of installed packages"
        if self.added:
            text += (
                f", and {len(self.added)} broken ones made for this demo, because this Python "
                "comes without those that its test suite has"
            )
        return text


def find(directory: Path, most: int | None = None) -> Inputs:
    """The files to measure.

    Args:
        directory: where broken files are made when the library has none.
        most: no more files than this.
    """
    paths = sysconfig.get_paths()
    roots = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")}
    sites = {Path(paths[name]).resolve() for name in ("purelib", "platlib")}
    library = sorted({file for root in roots for file in _python_files(root, _SITES)})
    packages: list[Path] = []
    if len(library) < ENOUGH:
        found = (file for site in sorted(sites) for file in _python_files(site))
        packages = list(islice(found, ENOUGH - len(library)))
    broken = [file for file in library if file.name in _BROKEN_ON_PURPOSE]
    added = [] if broken else _make_broken(directory)
    if most is not None:
        # The broken ones are half of the point.
        rest = [file for file in library if file not in set(broken)]
        library = sorted(broken + rest[: max(0, most - len(broken) - len(added))])
        packages = []
    return Inputs(library=tuple(library), packages=tuple(packages), added=tuple(added))


def _python_files(root: Path, skipped: frozenset[str] = frozenset()) -> Iterator[Path]:
    for place, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - skipped)
        yield from (Path(place, name) for name in sorted(names) if name.endswith(".py"))


def _make_broken(directory: Path) -> list[Path]:
    folder = directory / "broken"
    folder.mkdir(exist_ok=True)
    for name, source in _OURS.items():
        (folder / name).write_bytes(source)
    return sorted(folder.iterdir())


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))
