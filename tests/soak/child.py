"""A foreman process of a soak: ``python -m tests.soak.child ORDERS``.

It does what ``treadle run`` does, with a ledger. SIGUSR1 makes it stop dead, as if somebody had
sent it SIGSTOP, at the moment when its next verdict is about to be sent.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path

import msgspec

from tests.soak.tasks import app_of, witness
from treadle.cli.statuses import UNAVAILABLE
from treadle.errors import BackendUnavailable
from treadle.failpoints import active
from treadle.foreman.serve import serve
from treadle.logs import configure

__all__ = ["Orders"]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is told."""

    name: str
    url: str
    ledgers: str
    lease: float
    concurrency: int
    # The store is a broker without a companion.
    alone: bool


def main() -> int:
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    configure(level="warning", layout="json")
    app, _ = app_of(alone=orders.alone)
    with ExitStack() as points, witness(app, Path(orders.ledgers), orders.name, orders.lease):

        def arm() -> None:
            points.close()
            points.enter_context(active({"ack.before_send": "stop#1"}))

        serving = serve(
            app.core,
            opened=lambda _, loop: loop.add_signal_handler(signal.SIGUSR1, arm),
            name=orders.name,
            lease=orders.lease,
            concurrency=orders.concurrency,
            suspect_every=orders.lease / 2,
            grace=orders.lease * 2,
        )
        with app.override(url=orders.url):
            try:
                return asyncio.run(serving)
            except BackendUnavailable:
                traceback.print_exc()
                return UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
