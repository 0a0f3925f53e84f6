"""Tasks that their app gets late."""

from __future__ import annotations

from tests.foreman.lateapp import app


@app.task(mode="process")
def double(number: int) -> int:
    return 2 * number
