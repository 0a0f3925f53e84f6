"""The backends of an app by name, and the queues that are routed to them: what can be, and is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from treadle import backends
from treadle.clock import Clock
from treadle.config import Settings, mask
from treadle.errors import InvalidOption
from treadle.hints import did_you_mean
from treadle.ids import Ids
from treadle.logs import get_logger
from treadle.ports import Backend
from treadle.queuenames import check_queue

__all__ = ["DEFAULT", "check_routes", "open_all", "urls_of"]

DEFAULT = "default"
"""The name of the backend of the URL."""

_log = get_logger("treadle.app")
_PRIVATE = "memory://"


def urls_of(settings: Settings) -> Mapping[str, str]:
    """The URLs of all backends, that of all queues without a route first."""
    return {DEFAULT: settings.url, **settings.backends}


def check_routes(settings: Settings) -> None:
    """Return when queues can be routed so; warn of a backend that none is routed to.

    Raises:
        InvalidOption: a backend has no name or that of another, or a URL twice; a route starts at
            no queue, or leads to no backend.
    """
    _check_names(settings)
    known = (DEFAULT, *settings.backends)
    for queue, name in settings.routes.items():
        check_queue(queue, "routes")
        if name not in known:
            way = "give it in backends=" if settings.backends else "there is no backends="
            raise InvalidOption(
                f"routes: queue {queue!r} is routed to {name!r}, which is no backend"
                f"{did_you_mean(name, known)}; {way}. Known: {', '.join(known)}",
                option="routes",
                value=name,
            )
    for name in settings.backends:
        if name not in settings.routes.values():
            _log.warning(
                "backend.unused",
                backend=name,
                hint=f"no queue is routed to it: routes={{'mail': {name!r}}}, or leave it away",
            )


def _check_names(settings: Settings) -> None:
    places: dict[str, str] = {}
    for name, url in urls_of(settings).items():
        if name in settings.backends and (name == DEFAULT or not name.isidentifier()):
            what = "that of the URL itself" if name == DEFAULT else "not a name"
            raise InvalidOption(
                f"backends: {name!r} is {what}; use another one, of letters, digits and _, such "
                "as 'fast'",
                option="backends",
                value=name,
            )
        backends.check(url)
        place = mask(url).partition("?")[0]
        if place in places and url != _PRIVATE:
            raise InvalidOption(
                f"backends: {name!r} and {places[place]!r} are both {place}, so their queues would "
                "not be apart; give one of them another URL, or route its queues to the other",
                option="backends",
                value=place,
            )
        places[place] = name


def open_all(
    settings: Settings, open_one: Callable[[str], Backend], *, clock: Clock, ids: Ids
) -> Backend:
    """The backends of an app behind the ports of one, none of them connected yet."""
    from treadle.backends.routed import RoutedBackend  # most apps have one backend

    parts = {name: open_one(url) for name, url in urls_of(settings).items()}
    return RoutedBackend(parts, settings.routes, clock=clock, ids=ids)
