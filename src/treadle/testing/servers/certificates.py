"""Certificates of our own making, through the openssl program."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import msgspec

from treadle.testing.servers.binaries import find_binary

__all__ = ["Certificates", "make_certificates"]


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """Files of an authority and of a server that it vouches for."""

    # Whom clients trust.
    authority: Path
    # Shown by the server, for 127.0.0.1 and localhost.
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """For a client that trusts this authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificates(folder: Path) -> Certificates:
    """New ones in a folder, good for a few days."""
    made = Certificates(
        authority=folder / "authority.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
    )
    authority_key = folder / "authority.key"
    request, extensions = folder / "server.csr", folder / "server.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl("req", "-x509", *new_key, "-days", "3", "-subj", "/CN=treadle tests",
             "-keyout", authority_key, "-out", made.authority)  # fmt: skip
    _openssl("req", *new_key, "-subj", "/CN=localhost", "-keyout", made.key, "-out", request)
    _openssl("x509", "-req", "-in", request, "-CA", made.authority, "-CAkey", authority_key,
             "-CAcreateserial", "-days", "3", "-extfile", extensions,
             "-out", made.certificate)  # fmt: skip
    return made


def _openssl(*words: str | Path) -> None:
    program = find_binary(["openssl"], package="openssl")
    subprocess.run([program, *map(str, words)], check=True, capture_output=True, timeout=60)
