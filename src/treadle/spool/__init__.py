"""A producer's spool: jobs in a file of this machine while their store is away."""

from __future__ import annotations

from treadle.spool.entry import Entry, Place, place_of, served
from treadle.spool.file import SpoolFile
from treadle.spool.pushing import Spooling
from treadle.spool.several import Spools
from treadle.spool.spool import Spool, passing

__all__ = [
    "Entry",
    "Place",
    "Spool",
    "SpoolFile",
    "Spooling",
    "Spools",
    "passing",
    "place_of",
    "served",
]
