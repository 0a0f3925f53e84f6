"""What may be the name of a namespace."""

from __future__ import annotations

import re

from treadle.errors import InvalidOption

__all__ = ["check_namespace"]

_NAMESPACE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def check_namespace(namespace: str) -> None:
    """Refuse what no store takes for a prefix of its names.

    Raises:
        InvalidOption: it is not one.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidOption(
            f"namespace={namespace!r}: use 1 to 64 letters, digits and _ . : -",
            option="namespace",
            value=namespace,
        )
