"""What the server and the driver say when something cannot be done, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    IncompatibleProtocolError,
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

__all__ = ["told"]


@contextmanager
def told(url: str) -> Iterator[None]:
    """What goes wrong in the block is raised as an error of the library."""
    try:
        yield
    except TreadleError:
        raise
    except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError) as error:
        raise _error_of(error, url) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # The driver cancels what waits on a connection that is gone.
        raise BackendUnavailable(f"the connection to {url} is gone", backend=url) from error


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
                "on what begins with 'tr.'",
                backend=url,
            )
        case ProbableAuthenticationError():
            return BackendUnavailable(
                f"{url} does not let us in: {error}. Is the password in the URL still right?",
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
