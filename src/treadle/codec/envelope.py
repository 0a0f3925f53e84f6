"""The envelope around a payload: format, headers, signature, and its bound.

::

    C1  version  codec  cipher  length of key id  length of headers (2)
    key id  headers  body  signature (32)

The first byte never starts a msgpack value, so that foreign bytes are told from a newer
version. Without headers and keys the envelope is seven constant bytes. The signature is
there where there is a key id; it covers everything before it and what it is bound to.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import msgspec

from treadle.codec.exts import pack
from treadle.codec.keys import SIGNATURE_SIZE, KeyRing
from treadle.codec.misfit import Misfit, class_of
from treadle.codec.natural import read
from treadle.codec.outline import LIGHT, weigh
from treadle.codec.pickled import Pickled
from treadle.errors import (
    InvalidOption,
    NewerFormat,
    NotDecodable,
    NotEncodable,
    PayloadTooLarge,
    SignatureInvalid,
)

__all__ = ["FORMAT", "MAX_HEADERS", "MSGPACK", "PICKLE", "Cipher", "Codec", "Envelope"]

FORMAT = 1
"""Version of the envelope that this code writes; it reads this and all before."""
MAX_HEADERS = 4096
"""Bytes of the encoded headers."""
MSGPACK, PICKLE = 1, 2
"""Ids of the codecs of a body."""

_MAGIC = 0xC1
_FIXED = 7
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_BARE = bytes([_MAGIC, FORMAT, MSGPACK, 0, 0, 0, 0])


class Cipher(Protocol):
    """Encryption of bodies. Authentication of the rest is the business of the key ring."""

    # Stored in the envelope, 1 to 255, to know which cipher wrote it.
    id: int

    def encrypt(self, body: bytes, associated: bytes) -> bytes:
        """The body, unreadable without the key."""
        ...

    def decrypt(self, body: bytes, associated: bytes) -> bytes:
        """What was encrypted, or any exception."""
        ...


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """An opened payload."""

    version: int
    # ``MSGPACK`` or ``PICKLE``.
    codec: int
    # Id of the key that signed it; empty when nothing did.
    key: str
    headers: Mapping[str, str]
    # For ``Shape.decode``.
    body: bytes


class Codec:
    """Seals and opens payloads. Thread-safe.

    Args:
        max_payload: bytes that a sealed payload may have.
        keys: sign with the first of them, verify with any.
        pickle: accept pickled bodies, which needs ``keys``.
        require_signature: refuse what is not signed; by default when pickle is on.
        cipher: encrypts bodies.
    """

    def __init__(
        self,
        *,
        max_payload: int = 1 << 20,
        keys: KeyRing | None = None,
        pickle: bool = False,
        require_signature: bool | None = None,
        cipher: Cipher | None = None,
    ) -> None:
        if max_payload < 1:
            raise InvalidOption(
                f"max_payload={max_payload!r} must be a positive number of bytes",
                option="max_payload",
                value=max_payload,
            )
        for option, wanted in (("pickle", pickle), ("require_signature", require_signature)):
            if wanted and keys is None:
                raise InvalidOption(
                    f"{option}=True needs keys to sign with: pass keys=KeyRing({{'id': secret}})",
                    option=option,
                    value=wanted,
                )
        self.max_payload = max_payload
        self.keys = keys
        self.pickle = pickle
        self.require_signature = pickle if require_signature is None else require_signature
        self.cipher = cipher
        # Nothing signs or encrypts: callers with many payloads need not ask what binds them.
        self.plain = keys is None and cipher is None

    def binding(self, task: str, job_id: str) -> bytes:
        """What binds the payloads of a job to it, so that none can be moved to another job."""
        return b"" if self.plain else f"{task}\0{job_id}".encode()

    def seal(
        self, body: bytes, headers: Mapping[str, str] | None = None, *, associated: bytes = b""
    ) -> bytes:
        """A body in its envelope.

        Args:
            body: from ``Shape.encode`` or ``Shape.encode_result``.
            headers: small texts that travel along, such as a trace context.
            associated: what a signature binds the payload to, such as the job id.

        Raises:
            PayloadTooLarge: more than ``max_payload`` bytes.
            NotEncodable: more parts than are ever decoded.
        """
        if len(body) > LIGHT and type(body) is not Pickled:
            _check_parts(body)
        if self.plain and not headers and type(body) is not Pickled:
            sealed = _BARE + body
        else:
            sealed = self._seal(body, headers or {}, associated)
        if len(sealed) > self.max_payload:
            raise PayloadTooLarge(
                f"the payload has {len(sealed):,} bytes, {self.max_payload:,} are allowed; "
                "store the data elsewhere and pass a path or an id, or raise max_payload",
                size=len(sealed),
                limit=self.max_payload,
            )
        return sealed

    def open(self, sealed: bytes, *, associated: bytes = b"") -> Envelope:
        """What is in an envelope. Nothing is decoded before its signature is verified.

        Raises:
            NotDecodable: it is none, or damaged.
            NewerFormat: a newer version wrote it.
            SignatureInvalid: it is forged, unsigned, or not of ``associated``.
        """
        if self.plain and sealed[:_FIXED] == _BARE:
            return Envelope(FORMAT, MSGPACK, "", _NO_HEADERS, sealed[_FIXED:])
        return self._open(bytes(sealed), associated)

    def body_of(self, sealed: bytes, task: str, job_id: str) -> bytes:
        """The body of a payload of a job. Raises what :meth:`open` does."""
        return self.open(sealed, associated=self.binding(task, job_id)).body

    def _seal(self, body: bytes, headers: Mapping[str, str], associated: bytes) -> bytes:
        codec = PICKLE if type(body) is Pickled else MSGPACK
        if codec == PICKLE and not self.pickle:
            raise NotEncodable("a pickled body, and the codec was made without pickle=True")
        key = self.keys.current.encode() if self.keys else b""
        packed = _packed_headers(headers)
        cipher = self.cipher.id if self.cipher else 0
        head = bytes([_MAGIC, FORMAT, codec, cipher, len(key)])
        head += len(packed).to_bytes(2, "big") + key + packed
        if self.cipher:
            body = self.cipher.encrypt(body, head + associated)
        if self.keys:
            return head + body + self.keys.sign(self.keys.current, head + body, associated)
        return head + body

    def _open(self, sealed: bytes, associated: bytes) -> Envelope:
        codec, cipher, key, start, packed = _head(sealed)
        end = len(sealed)
        if key:
            end -= SIGNATURE_SIZE
            if end < start:
                raise NotDecodable("the envelope is cut off")
            self._verify(key, sealed, end, associated)
        elif self.require_signature:
            raise SignatureInvalid("the payload is not signed, and a signature is required")
        if codec == PICKLE and not (self.pickle and key):
            raise SignatureInvalid(
                "a pickled payload, which is taken only when it is signed and pickle=True"
            )
        body = sealed[start:end]
        if cipher:
            body = self._decrypted(cipher, body, sealed[:start] + associated)
        headers = _headers(packed)
        return Envelope(FORMAT, codec, key, headers, Pickled(body) if codec == PICKLE else body)

    def _verify(self, key: str, sealed: bytes, end: int, associated: bytes) -> None:
        if self.keys is None:
            raise SignatureInvalid(
                f"the payload is signed with the key {key!r}, and there is no key ring to verify it"
            )
        self.keys.verify(key, sealed[end:], sealed[:end], associated)

    def _decrypted(self, cipher: int, body: bytes, associated: bytes) -> bytes:
        if self.cipher is None or self.cipher.id != cipher:
            raise NotDecodable(f"encrypted with the cipher {cipher}, which is not configured")
        try:
            return self.cipher.decrypt(body, associated)
        except Exception as error:
            raise NotDecodable(f"the body cannot be decrypted: {error!r:.200}") from error


def _check_parts(body: bytes) -> None:
    """What could not be decoded again is not accepted."""
    try:
        weigh(body)
    except Misfit as misfit:
        raise NotEncodable(misfit.reason) from None


def _head(sealed: bytes) -> tuple[int, int, str, int, bytes]:
    """Codec, cipher, key id, where the body starts, and the packed headers."""
    if len(sealed) < _FIXED or sealed[0] != _MAGIC or sealed[1] == 0:
        raise NotDecodable(
            "not an envelope: these bytes were not written by Treadle, or are cut off"
        )
    version, codec, cipher, key_size = sealed[1:5]
    if version > FORMAT:
        raise NewerFormat(
            f"written in format {version}, this version reads up to {FORMAT}; upgrade this process",
            version=version,
            known=FORMAT,
        )
    if codec not in (MSGPACK, PICKLE):
        raise NotDecodable(f"the envelope names an unknown codec, {codec}")
    middle = _FIXED + key_size
    start = middle + int.from_bytes(sealed[5:7], "big")
    if start > len(sealed):
        raise NotDecodable("the envelope is cut off")
    try:
        key = sealed[_FIXED:middle].decode("ascii")
    except UnicodeDecodeError:
        raise NotDecodable("the key id of the envelope is no text") from None
    return codec, cipher, key, start, sealed[middle:start]


def _packed_headers(headers: Mapping[str, str]) -> bytes:
    if not headers:
        return b""
    for name, value in headers.items():
        if type(name) is not str or type(value) is not str:
            raise NotEncodable(
                f"header {name!r:.60} must be a str with a str, not {type(value).__name__}",
                path=f"headers[{name!r:.60}]",
            )
    try:
        packed = pack(dict(headers))
    except UnicodeEncodeError as error:
        raise NotEncodable(f"a header is no valid text: {error}", path="headers") from None
    if len(packed) > MAX_HEADERS:
        raise PayloadTooLarge(
            f"the headers have {len(packed):,} bytes, {MAX_HEADERS:,} are allowed; "
            "pass the data as an argument",
            size=len(packed),
            limit=MAX_HEADERS,
        )
    return packed


def _headers(packed: bytes) -> Mapping[str, str]:
    if not packed:
        return _NO_HEADERS
    headers = read(packed)
    kind = class_of(headers)
    if kind is not dict or not all(
        type(name) is str and type(value) is str for name, value in headers.items()
    ):
        raise NotDecodable("the headers of the envelope are not texts by name")
    found: dict[str, str] = headers
    return found
