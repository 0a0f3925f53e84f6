"""Django's connection to a database, without a project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit


@contextmanager
def database(url: str) -> Iterator[tuple[Any, Any]]:
    """``django.db.connection`` and ``django.db.transaction``, in this thread."""
    import django
    from django.conf import settings

    parts = urlsplit(url)
    if not settings.configured:
        settings.configure(
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": parts.path.lstrip("/"),
                    "USER": parts.username or "",
                    "PASSWORD": parts.password or "",
                    "HOST": parts.hostname or "",
                    "PORT": parts.port or "",
                }
            }
        )
        django.setup()
    from django.db import connection, transaction

    # It is configured once in a process.
    connection.settings_dict["NAME"] = parts.path.lstrip("/")
    try:
        yield connection, transaction
    finally:
        connection.close()
