"""Foremen in a simulation: one event loop, virtual time, and faults that a number decides.

:func:`simulate` runs an application in the memory of this process: foremen, producers, and a store
behind a network that delays, loses, repeats and overtakes what is said. Foremen die, stand
still past their leases and come back. Whatever happens follows from the seed, so a run that
breaks a promise can be run again, with ``python -m treadle.testing.simulation SEED --trace``.
"""

from __future__ import annotations

from treadle.testing.simulation.world import Outcome, simulate

__all__ = ["Outcome", "simulate"]
