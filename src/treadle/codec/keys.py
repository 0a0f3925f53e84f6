"""Keys that sign payloads."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from treadle.errors import InvalidOption, SignatureInvalid

__all__ = ["SIGNATURE_SIZE", "KeyRing"]

SIGNATURE_SIZE = 32
_SHORTEST = 16
_LONGEST_ID = 64


class KeyRing:
    """HMAC-SHA-256 keys by id. The first one signs, all of them verify.

    To change the key, put the new one first and keep the old one behind it until no job
    that it signed is left.

    Args:
        keys: key id to secret, of 16 bytes or more; make one with ``openssl rand -hex 32``.
    """

    def __init__(self, keys: Mapping[str, bytes | str]) -> None:
        if not keys:
            raise InvalidOption("a key ring needs a key", option="keys", value={})
        self._keys: dict[str, bytes] = {}
        for key_id, secret in keys.items():
            raw = secret.encode() if isinstance(secret, str) else bytes(secret)
            if len(raw) < _SHORTEST:
                raise InvalidOption(
                    f"the key {key_id!r} has {len(raw)} bytes, {_SHORTEST} are needed",
                    option="keys",
                    value=key_id,
                )
            if not key_id.isascii() or not 1 <= len(key_id) <= _LONGEST_ID:
                raise InvalidOption(
                    f"the key id {key_id!r} must have 1 to {_LONGEST_ID} ASCII characters",
                    option="keys",
                    value=key_id,
                )
            self._keys[key_id] = raw
        self.current = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"

    def sign(self, key_id: str, *parts: bytes) -> bytes:
        """The signature of some bytes; how they are cut into parts counts."""
        return hmac.digest(self._keys[key_id], _framed(parts), "sha256")

    def verify(self, key_id: str, signature: bytes, *parts: bytes) -> None:
        """Nothing when the signature is right.

        Raises:
            SignatureInvalid: it is not, or the key is not in the ring.
        """
        if key_id not in self._keys:
            raise SignatureInvalid(
                f"signed with the key {key_id!r}, which is not in the ring; "
                f"it has {', '.join(self._keys)}"
            )
        if not hmac.compare_digest(signature, self.sign(key_id, *parts)):
            raise SignatureInvalid(
                "the signature does not fit: the payload was changed, belongs to another job, "
                f"or was signed with another secret under the key id {key_id!r}"
            )


def _framed(parts: tuple[bytes, ...]) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
