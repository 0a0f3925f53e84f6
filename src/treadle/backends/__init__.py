"""Where jobs live: :func:`open` gives the backend that a URL names."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from treadle.backends.common.url import Url
from treadle.clock import Clock
from treadle.errors import InvalidOption
from treadle.ids import Ids
from treadle.ports import Backend

__all__ = ["SCHEMES", "Url", "open"]

SCHEMES = {
    "memory": "treadle.backends.memory",
    "sqlite": "treadle.backends.sqlite",
}
"""Scheme of a URL to the module whose ``connect`` opens it; imported when it is first used."""

_EXAMPLES = "memory://, memory://name, sqlite:///jobs.db, sqlite:////var/lib/app/jobs.db"


def open(  # noqa: A001 - backends.open(url) is its name
    url: str, *, clock: Clock, ids: Ids, namespace: str = "treadle", **options: Any
) -> Backend:
    """The backend of a URL.

    Args:
        url: where the jobs live; its scheme says in what.
        clock: what the store goes by.
        ids: where ids, nonces and chance come from.
        namespace: keeps apart what shares a store.
        options: of that kind of store.

    Raises:
        InvalidOption: no backend has this scheme.
    """
    scheme = Url(url).scheme
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InvalidOption(
            f"url={str(Url(url))!r} names no backend of this version of treadle, which has "
            f"{known}; for example {_EXAMPLES}",
            option="url",
            value=str(Url(url)),
        )
    module = import_module(SCHEMES[scheme])
    backend = module.connect(url, clock=clock, ids=ids, namespace=namespace, **options)
    return cast("Backend", backend)
