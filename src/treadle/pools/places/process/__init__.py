"""Child processes: how they are started, what they are told, and what becomes of them.

=============  ==================================================================
place          the place of a pool that the rest of the library knows
lending        the same, whose waiting calls move to another place of its pool
life           one child of a place, from its birth to its death
hub            the one thread that listens to all children of this process
nursery        starts the helper process and speaks with it
-------------  ------------------------------------------------------------------
helper         the helper process: forks children, ends and reaps them
child          what runs in a child
board          memory that a place and its child share
-------------  ------------------------------------------------------------------
wire           frames over a socket, with descriptors
parcel         values as bytes, large ones in memory of their own
trouble        errors as bytes
=============  ==================================================================
"""
