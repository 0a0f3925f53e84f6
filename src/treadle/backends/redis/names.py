"""Ids of jobs as they are stored: a UUID in 16 bytes, because each is stored several times.

Any other id is its text behind a zero byte. No UUID that is stored short begins with one.
"""

from __future__ import annotations

__all__ = ["long", "short"]

_LENGTH, _BYTES = 36, 16
_DASHES = "----"


def short(job_id: str) -> bytes:
    """The id as it is stored."""
    if (
        len(job_id) == _LENGTH
        and job_id[8] + job_id[13] + job_id[18] + job_id[23] == _DASHES
        and job_id.isascii()
        and job_id == job_id.lower()
    ):
        try:
            stored = bytes.fromhex(job_id.replace("-", ""))
        except ValueError:
            stored = b""
        if len(stored) == _BYTES and stored[0]:
            return stored
    return b"\0" + job_id.encode()


def long(stored: bytes) -> str:
    """The id that is stored like this."""
    if not stored[0]:
        return stored[1:].decode()
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
