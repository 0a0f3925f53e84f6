"""Several backends behind the ports of one: each queue lives in the backend it is routed to.

``routes`` says which that is, ``part`` is one of the backends, ``seats`` are the sessions of a
foreman in them, ``claiming`` takes from all in turns, ``ending`` renews and settles what they gave,
``finding`` looks at all, ``cells`` brings rules to all that they hold for, ``crossing`` refuses
what would count in two, ``backend`` is what the ports see. No backend knows of another.
"""

from __future__ import annotations

from treadle.backends.routed.backend import RoutedBackend

__all__ = ["RoutedBackend"]
