"""Holds the import contracts of ``pyproject.toml``."""

from __future__ import annotations

import sys

from importlinter.cli import lint_imports

if __name__ == "__main__":
    sys.exit(lint_imports(cache_dir=".cache/imports", no_logo=True))
