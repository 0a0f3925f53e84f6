"""Random histories of every verb, played on a backend and on the store in memory beside it.

A backend's test file::

    def make(setup: Setup) -> Backend:
        return connect(f"mine://{setup.folder}", clock=setup.clock, ids=setup.ids)


    def test_random_histories():
        check_model(make)

Where the contract suite has a case for each sentence, the model looks for what nobody thought of:
pushes of every kind, claims, renewals, settlements with stale and forged tokens, changes, pauses,
permits, restarts, and time. After each step every answer, every record, every count, the sessions
and the cells must be those of the store in memory, and what must hold in any store is checked by
itself: no job is lost or served twice, fences and versions only go up, keys, unique keys and slots
are kept. In the end everything is served, and nothing is left leased.

A history that fails is made as short as it gets and shown step by step, with what to call to have
it again. It needs Hypothesis. ``TREADLE_MODEL_EXAMPLES`` sets the number of histories, for a night;
``TREADLE_MODEL_START`` is added to each seed, for others than those of every day.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from treadle.testing.model.machine import BackendMachine
from treadle.testing.model.side import Check, Make, Setup

__all__ = ["BackendMachine", "Check", "Make", "Setup", "check_model"]

_EXAMPLES = "TREADLE_MODEL_EXAMPLES"
_START = "TREADLE_MODEL_START"


def check_model(
    make: Make,
    *,
    lines: bool = False,
    insides: Check | None = None,
    max_failed: int | None = None,
    examples: int = 20,
    steps: int = 40,
    start: int | None = None,
) -> None:
    """Raise what a random history of a backend shows to be wrong.

    Args:
        make: gives a backend over the store of a :class:`Setup`; called again for the same
            setup when the process that has the store is to die.
        lines: keys and slots too, and then without the store in memory, because which of those
            that wait for a key competes first is not laid down. Call it once with, once without.
        insides: called with the backend after each step, to raise when something in it does not
            fit together.
        max_failed: failed jobs that the stores keep, for ``make`` in its setup. Histories have so
            few that only with a small number the oldest have to go.
        examples: histories, unless the environment variable ``TREADLE_MODEL_EXAMPLES`` says.
        steps: of a history, at the most.
        start: seed that makes all runs the same; without one each run is another.
    """
    served = {
        "make": staticmethod(make),
        "lines": lines,
        "insides": (insides,) if insides else (),
        "max_failed": max_failed,
    }
    machine = type("History", (BackendMachine,), served)
    if start is not None:
        machine = seed(start + int(os.environ.get(_START, "0")))(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get(_EXAMPLES, examples)),
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
            ],
        ),
    )
