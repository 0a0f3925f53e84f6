"""The program: ``treadle``, also ``python -m treadle``."""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> None:
    """Load the command line, run it and exit."""
    # Loading takes a moment in which nothing has been begun: Ctrl+C ends it without a traceback.
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from treadle.cli import main as run

    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
