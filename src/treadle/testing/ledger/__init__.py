"""What the processes of a run wrote down themselves, compared with what the store says.

A store is no witness in its own case. So each process of a test keeps a :class:`Ledger`: a file
in a directory of the run that it only appends to, and that is there when it was killed. An app
that is :func:`witnessed` writes what it pushes, is granted and settles; jobs write when they
start and when they have done their work; whoever kills or freezes a process writes that::

    ledger = Ledger(directory, name)
    witnessed(app, ledger)


    @app.task
    async def work(ctx: Context = CONTEXT) -> None:
        ledger.started(ctx)
        ...
        ledger.effect(ctx)

At the end :func:`check` reads all ledgers and a :func:`dump` of the store, and explains each
rule that was broken. The times of the processes are compared, so they have to be on one machine;
every job must be kept until then (``keep=None``), and must not be removed by hand.
"""

from __future__ import annotations

from treadle.testing.ledger.book import Ledger
from treadle.testing.ledger.check import check
from treadle.testing.ledger.dump import Dump, dump
from treadle.testing.ledger.entries import Blow
from treadle.testing.ledger.findings import Figures, Findings, Rule, Violation
from treadle.testing.ledger.history import History
from treadle.testing.ledger.witness import Witness, witnessed

__all__ = [
    "Blow",
    "Dump",
    "Figures",
    "Findings",
    "History",
    "Ledger",
    "Rule",
    "Violation",
    "Witness",
    "check",
    "dump",
    "witnessed",
]
