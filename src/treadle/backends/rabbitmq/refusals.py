"""What the server and the driver say when something cannot be done, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)

from treadle.errors import (
    BackendError,
    BackendFull,
    BackendUnavailable,
    SchemaMismatch,
    TreadleError,
)

__all__ = ["is_silent", "told"]

# What is said by a server that is there and wants something else of us.
_OBJECTIONS = (
    AuthenticationError,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)


@contextmanager
def told(url: str, *, entering: bool = False) -> Iterator[None]:
    """What goes wrong in the block is raised as an error of the library.

    Args:
        url: of the server.
        entering: it is the first that is said to the server.
    """
    try:
        yield
    except TreadleError:
        raise
    except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError) as error:
        of_tls = _of_tls(str(error), url) if entering else None
        raise (_error_of(error, url) if of_tls is None else of_tls) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # The driver cancels what waits on a connection that is gone.
        raise BackendUnavailable(f"the connection to {url} is gone", backend=url) from error
    except Exception as error:
        # It may also give them nothing but the class.
        if type(error) is not Exception:
            raise
        raise BackendUnavailable(f"the connection to {url} is gone", backend=url) from error


def is_silent(error: BackendUnavailable) -> bool:
    """Whether nobody answered, so that nothing is known to be wrong but that it is away."""
    return not isinstance(error.__cause__, _OBJECTIONS)


def _of_tls(said: str, url: str) -> BackendUnavailable | None:
    """What is wrong with an agreement on TLS, if that is it."""
    if "CERTIFICATE_VERIFY_FAILED" in said:
        text = (
            f"shows a certificate that is not trusted: {said}. ?cafile=… names the file of the "
            "authority to trust"
        )
    elif "WRONG_VERSION_NUMBER" in said:
        text = "does not speak TLS at this port: write amqp://, or give the port for TLS"
    elif "reset" in said and url.startswith("amqp:"):
        text = (
            f"cannot be reached: {said}, at the first word; if it wants TLS there, write amqps://"
        )
    else:
        return None
    return BackendUnavailable(f"{url} {text}", backend=url)


def _error_of(error: Exception, url: str) -> BackendError:
    match error:
        case PublishError():
            return BackendUnavailable(
                f"{url} has no queue for a message, which was taken back; somebody deletes the "
                "queues of treadle",
                backend=url,
            )
        case DeliveryError():
            return BackendFull(
                f"{url} refused a message; nothing was changed. Does a policy limit its queues?",
                backend=url,
            )
        case ChannelPreconditionFailed():
            return SchemaMismatch(
                f"{url} has a queue of ours with other arguments: {error}. Another version or "
                "another max_failed declared it; use the same, or another namespace",
                backend=url,
            )
        case ChannelAccessRefused():
            return BackendError(
                f"the account of {url} lacks a right: {error}. It needs configure, write and read "
                r"on '^(tr\.|amq\.(gen|default))'",
                backend=url,
            )
        case ProbableAuthenticationError():
            return BackendUnavailable(
                f"{url} does not let us in: {str(error).rstrip('.')}. Is the password in the URL "
                "still right?",
                backend=url,
            )
        case InvalidFrameError():
            # It closes the connection where it is to open a virtual host.
            return BackendUnavailable(
                f"{url} does not let us in: does its virtual host exist, and may the account use "
                "it? rabbitmqctl list_vhosts and list_permissions tell",
                backend=url,
            )
        case IncompatibleProtocolError():
            return BackendUnavailable(f"{url} does not speak AMQP 0-9-1", backend=url)
        case ChannelNotFoundEntity():
            return BackendUnavailable(f"{url} lacks something of ours: {error}", backend=url)
        case TimeoutError():
            return BackendUnavailable(f"{url} does not answer", backend=url)
        case _:
            return BackendUnavailable(
                f"{url} cannot be reached: {str(error) or type(error).__name__}", backend=url
            )
