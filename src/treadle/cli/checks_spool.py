"""What ``treadle doctor`` says of a producer's spool, also while the store is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from treadle.cli.checks import Finding, Level
from treadle.cli.times import ago
from treadle.core import Core
from treadle.errors import TreadleError
from treadle.spool import SpoolFile, passing

__all__ = ["of_spool"]


def of_spool(core: Core) -> Iterator[Finding]:
    """What is in the spool of an app, and where it lies."""
    if core.settings.spool is None:
        return
    path = str(Path(core.settings.spool).absolute())
    reason = passing(path) if Path(path).parent.is_dir() else ""
    if reason:
        yield _finding(
            Level.WARN, f"{path}: {reason}", "give it a file on a disk that stays: spool="
        )
    if not Path(path).exists():
        yield _finding(Level.OK, f"{path} has not been used")
        return
    file = SpoolFile(path)
    try:
        yield from _held(file, core.clock.now())
    except TreadleError as error:
        yield _finding(Level.FAIL, str(error), "give the spool a file of its own that can be used")
    finally:
        file.close()


def _held(file: SpoolFile, now: float) -> Iterator[Finding]:
    waiting, refused = file.entries(refused=False), file.entries(refused=True)
    if waiting:
        yield _finding(
            Level.WARN,
            f"{len(waiting):,} jobs wait for {waiting[0].url}, the oldest enqueued "
            f"{ago(waiting[0].at, now)}",
            "they are forwarded while an app runs that has this spool, or now: treadle spool "
            "forward",
        )
    if refused:
        yield _finding(
            Level.FAIL,
            f"{len(refused):,} jobs were refused, the oldest enqueued {ago(refused[0].at, now)}: "
            f"{refused[0].reason}",
            "look: treadle spool list --refused; then treadle spool retry, or drop",
        )
    if not waiting and not refused:
        yield _finding(Level.OK, f"{file.path} is empty")


def _finding(level: Level, says: str, action: str = "") -> Finding:
    return Finding(level=level, check="spool", says=says, action=action)
