"""A record of attempts that does not go through the store, to compare the store with."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import msgspec

__all__ = ["Ledger", "append", "read"]


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What the attempts wrote, by job id."""

    started: Counter[str]
    ended: Counter[str]


def append(ledger: Path, word: str, job_id: str, attempt: int) -> None:
    """Add a line. One write to a file opened for appending is not mixed with those of others."""
    line = f"{word} {job_id} {attempt} {os.getpid()}\n".encode()
    descriptor = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read(ledger: Path) -> Ledger:
    """How often each job was started and ended."""
    words: dict[str, Counter[str]] = {"start": Counter(), "end": Counter()}
    if ledger.exists():
        for line in ledger.read_text().splitlines():
            word, job_id, *_ = line.split()
            words[word][job_id] += 1
    return Ledger(started=words["start"], ended=words["end"])
