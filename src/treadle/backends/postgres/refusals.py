"""What the errors of PostgreSQL and of its driver mean."""

from __future__ import annotations

import ssl

import asyncpg

from treadle.errors import (
    BackendError,
    BackendFull,
    BackendReadOnly,
    BackendUnavailable,
    SchemaMismatch,
)

__all__ = ["LOST", "is_transient", "meaning"]

LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    # So it calls a statement on a connection that the server has given up and not closed yet.
    asyncpg.InternalClientError,
)
"""The connection, and with it perhaps an answer, is gone."""

# Serialisation, deadlock, no lock, cancelled, shut down, starting, too many connections.
_AGAIN = frozenset({"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "53300"})


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return code in _AGAIN or code.startswith("08")
    return isinstance(error, LOST) and _of_tls(error) is None


def _of_tls(error: BaseException) -> str | None:
    """What is wrong with an agreement on TLS, which no repeat mends."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return f"cannot be reached as the url says: {' '.join(str(error).split())}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"shows a certificate that is not trusted: {error.verify_message}. ?sslrootcert=… "
            "names the file of the authority to trust; verify-full wants the name of the host in it"
        )
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return (
            "does not speak TLS, and the url asks for it: ALTER SYSTEM SET ssl = on, or write "
            "?sslmode=prefer and live with that it can be read on the way"
        )
    return None


def meaning(error: BaseException, url: str) -> BaseException:
    """The error as the library says it."""
    if isinstance(error, asyncpg.PostgresError):
        return _refused(error, error.sqlstate or "", url)
    if (of_tls := _of_tls(error)) is not None:
        return BackendUnavailable(f"{url} {of_tls}", backend=url)
    if isinstance(error, LOST):
        said = str(error) or type(error).__name__
        return BackendUnavailable(
            f"{url} cannot be reached: {said}. Is PostgreSQL running there, and reachable?",
            backend=url,
        )
    return error


def _refused(error: asyncpg.PostgresError, code: str, url: str) -> BackendError:
    if code in ("53100", "53200"):
        return BackendFull(
            f"{url} has no space left: {error}. Nothing that was accepted is lost.", backend=url
        )
    if code == "25006":
        return BackendReadOnly(
            f"{url} is read-only: a standby? Give the url of the primary.", backend=url
        )
    if code == "42501":
        return BackendReadOnly(
            f"{url}: {error}. The user must own the tables, or be allowed to make them.",
            backend=url,
        )
    if code in ("42P01", "42883", "42703"):
        return SchemaMismatch(
            f"{url}: {error}. The tables of this namespace are not those of this version.",
            backend=url,
        )
    if is_transient(error) or code.startswith(("28", "3D", "53", "57")):
        return BackendUnavailable(f"{url}: {error}", backend=url)
    return BackendError(f"{url}: {error}", backend=url)
