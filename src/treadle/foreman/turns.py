"""The order in which queues are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.queuenames import weighted

__all__ = ["Turns"]


class Turns:
    """Queues in the order given, or by weight.

    Without weights each claim names the queues in the order given, so that an earlier one always
    goes first. With weights, each claim begins with the queue whose turn it is: smooth weighted
    round robin (as in nginx), which spreads the turns of a heavy queue evenly among those of the
    others. The rest follow, so that no place stays empty.

    Args:
        queues: names, each with an optional weight: ``("mail:5", "reports")``.

    Raises:
        InvalidOption: a weight that is not a positive whole number.

    Examples:
        >>> turns = Turns(["a:2", "b"])
        >>> [turns.next()[0] for _ in range(6)]
        ['a', 'b', 'a', 'a', 'b', 'a']
    """

    def __init__(self, queues: Sequence[str]) -> None:
        weights: dict[str, int] = {}
        unequal = False
        for item in queues:
            name, weight = weighted(item)
            unequal = unequal or weight is not None
            weights[name] = weight or 1
        self.names = tuple(weights)
        self._weights = weights if unequal and len(weights) > 1 else None
        self._credit = dict.fromkeys(weights, 0)

    def next(self) -> tuple[str, ...]:
        """The queues in the order of the next claim."""
        if self._weights is None:
            return self.names
        for name, weight in self._weights.items():
            self._credit[name] += weight
        ordered = sorted(self.names, key=lambda name: -self._credit[name])
        self._credit[ordered[0]] -= sum(self._weights.values())
        return tuple(ordered)
