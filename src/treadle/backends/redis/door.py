"""How to come into a server: account, database, certificates."""

from __future__ import annotations

import ssl

from treadle.backends.redis.address import Address
from treadle.backends.redis.wire import Connector
from treadle.clock import Clock
from treadle.errors import InvalidOption

__all__ = ["connector_for"]


def connector_for(address: Address, clock: Clock) -> Connector:
    """What makes the connections of an address.

    Raises:
        InvalidOption: a certificate cannot be read.
    """
    return Connector(
        user=address.user,
        password=address.password,
        db=address.db,
        tls=_tls(address) if address.tls else None,
        patience=address.patience,
        clock=clock,
    )


def _tls(address: Address) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=address.tls_ca)
        if address.tls_cert:
            context.load_cert_chain(address.tls_cert, address.tls_key)
    except OSError as error:
        files = [file for file in (address.tls_ca, address.tls_cert, address.tls_key) if file]
        raise InvalidOption(
            f"a certificate of {address.url} cannot be read: {error}; files: {', '.join(files)}",
            option="tls_ca",
            value=address.tls_ca,
        ) from error
    if not address.tls_check:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
