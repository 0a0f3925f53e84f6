"""The app of the demo: one task, which measures one file."""

from __future__ import annotations

from pathlib import Path

from treadle.app import Treadle
from treadle.context import CONTEXT, Context
from treadle.demo.ledger import append
from treadle.demo.measure import FileMeasures, measure_source

__all__ = ["app", "measure"]

app = Treadle()


# Kept for a week, so that the commands that the demo prints go on working. A crash is never the
# fault of a file here, so no number of them fails a job.
@app.task(name="demo.measure", keep="7d", max_crashes=1000)
def measure(path: Path, ledger: Path, ctx: Context = CONTEXT) -> FileMeasures:
    """Measure the functions of a file."""
    append(ledger, "start", ctx.job_id, ctx.attempt)
    try:
        return measure_source(path)
    finally:
        append(ledger, "end", ctx.job_id, ctx.attempt)
