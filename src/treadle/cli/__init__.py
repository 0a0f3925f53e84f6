"""The command line: ``treadle``, also ``python -m treadle``."""

from __future__ import annotations

from treadle.cli import config, db, demo, dev, doctor, enqueue, jobs, queues, run, spool, why
from treadle.cli.root import root

__all__ = ["COMMANDS", "main", "root"]

COMMANDS = (demo, run, dev, enqueue, jobs, queues, why, config, doctor, db, spool)
"""The modules whose import adds commands to the root."""


def main() -> None:
    """Run the command line and exit."""
    root(prog_name="treadle")
