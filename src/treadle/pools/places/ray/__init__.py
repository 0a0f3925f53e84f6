"""Ray actors: how calls travel to them, and what becomes of them.

=========  ======================================================================
place      the place of a pool that the rest of the library knows
life       one actor of a place, from its birth to its death
ledger     what a place was given and has not ended
hub        the one thread that speaks with all actors of this process
cluster    the cluster that is joined or started, and actors in it
---------  ----------------------------------------------------------------------
host       what runs in an actor: its worker, one call after another
journal    what an actor has begun and ended, in memory that outlives it
=========  ======================================================================

A message between a process and an actor costs about a hundred times as much as a small call. So
there is no message for each call: what was submitted goes together as soon as the hub is free, and
an actor gives whatever has ended to the one question for results that it always has.
"""
