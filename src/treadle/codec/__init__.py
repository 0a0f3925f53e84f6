"""Values as bytes: arguments and results, by the annotations of their task.

Two layers. A :class:`Shape` turns the arguments of one task into a body and back. A
:class:`Codec` seals a body into an envelope, signed where there are keys, and opens it.
"""

from __future__ import annotations

from treadle.codec.envelope import Cipher, Codec, Envelope
from treadle.codec.keys import KeyRing
from treadle.codec.natural import natural_decode, natural_encode
from treadle.codec.shape import Shape

__all__ = [
    "Cipher",
    "Codec",
    "Envelope",
    "KeyRing",
    "Shape",
    "natural_decode",
    "natural_encode",
]
