"""A producer in a process of its own: ``python producer.py URL NAMESPACE SPOOL FIRST LAST``.

Enqueues jobs with the texts from FIRST to LAST and prints each once its enqueue has returned. Then
it prints ``done``, and goes on until its input ends and nothing waits in the spool.
"""

from __future__ import annotations

import sys

from treadle import Treadle
from treadle.clock import SystemClock


def main(url: str, namespace: str, path: str, first: str, last: str) -> None:
    app = Treadle(url, namespace=namespace, spool=path, patience=0.05)

    @app.task(name="note")
    def note(text: str) -> str:
        return text

    with app:
        for number in range(int(first), int(last)):
            note.options(id=f"job-{number:04}").enqueue(str(number))
            print(number, flush=True)
        print("done", flush=True)
        sys.stdin.read()
        spool = app.core.store.spool
        assert spool is not None
        clock = SystemClock()
        while spool.waits():
            app.core.background.call(clock.sleep(0.02))


if __name__ == "__main__":
    main(*sys.argv[1:])
