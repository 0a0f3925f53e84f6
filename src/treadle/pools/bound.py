"""One function in a pool: called once, or for each of many items."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any, Generic, ParamSpec, Protocol, TypedDict, TypeVar, Unpack

from treadle.clock import Clock
from treadle.durations import Duration, seconds
from treadle.errors import InvalidOption
from treadle.guards import refuse_unknown
from treadle.pools.chunks import Chunked, Item, Single, chunks
from treadle.pools.future import Future
from treadle.pools.mapping import Results
from treadle.pools.progress import Progress, shown
from treadle.pools.submission import Kind

__all__ = ["Bound", "Carrier", "MapOptions"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
_AHEAD = 1000


class MapOptions(TypedDict, total=False):
    """How a function is carried out for many items."""

    # Results come in the order of the items; else in that in which they end. True by default.
    ordered: bool
    # Items that are taken, submitted and not yet given as results, at the most; 1,000 by default,
    # so that endless ones can be mapped. In mode "sync" it is 1.
    buffer: int
    # Items of one call, for functions that are quick beside the way to their place.
    chunk: int
    # For the whole, from now on; what has not ended then is cancelled.
    timeout: Duration | None
    # Errors come in the place of results, and do not end the map.
    return_exceptions: bool
    # Several iterables have to be of one length.
    strict: bool
    # A bar: True, its options as a dict, or one of your own.
    progress: Progress


class Carrier(Protocol):
    """What a function is bound to: a pool, or places with the policies of a task."""

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    def submit(
        self, kind: Kind, what: Any, args: tuple[Any, ...], kwargs: dict[str, Any], /
    ) -> Future[Any]:
        """The future of a call."""
        ...

    @property
    def at_once(self) -> bool:
        """Whether a call has ended when it was submitted."""
        ...

    has_policies: bool
    """Whether something surrounds each call."""


class Bound(Generic[P, R_co]):
    """A function of a pool, made by :meth:`Pool.bind <treadle.Pool.bind>`.

    ::

        with Pool("thread") as pool:
            area = pool.bind(lambda width, height: width * height)
            assert area(2, 3).result() == 6  # the same as area.submit(2, 3)
            assert list(area.map([1, 2], [3, 4])) == [3, 8]
            assert list(area.starmap([(1, 3), (2, 4)])) == [3, 8]
    """

    def __init__(self, crew: Carrier, kind: Kind, what: Any) -> None:
        self._crew = crew
        self._kind = kind
        self._what = what

    def __repr__(self) -> str:
        return f"<Bound {getattr(self._what, '__qualname__', self._what)}>"

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[R_co]:
        """Call the function; its future."""
        return self._crew.submit(self._kind, self._what, args, kwargs)

    __call__ = submit

    def map(self, *iterables: Iterable[Any], **options: Unpack[MapOptions]) -> Results[R_co]:
        """Call the function for the items of one iterable, or of several side by side.

        Never blocks, and takes only as many items ahead as ``buffer`` says.

        Args:
            iterables: one for each parameter; the shortest one ends it.
            options: see :class:`~treadle.pools.bound.MapOptions`.

        Raises:
            UnknownOption, InvalidOption: the options are wrong.
        """
        sizes = [len(one) for one in iterables if isinstance(one, Sized)]
        total = min(sizes) if len(sizes) == len(iterables) and sizes else None
        items = zip(*iterables, strict=_flag("strict", options.pop("strict", False)))
        return self._mapped(items, total, options)

    def starmap(
        self, items: Iterable[Iterable[Any]], **options: Unpack[MapOptions]
    ) -> Results[R_co]:
        """As :meth:`map`, for items that are the arguments of each call: ``[(1, 2), (3, 4)]``."""
        if "strict" in options:
            raise InvalidOption(
                "strict= is for several iterables, and starmap has one",
                option="strict",
                value=options["strict"],
            )
        total = len(items) if isinstance(items, Sized) else None
        return self._mapped((tuple(item) for item in items), total, options)

    def _mapped(
        self, items: Iterable[Item], total: int | None, options: MapOptions
    ) -> Results[R_co]:
        refuse_unknown("a map", options, _KNOWN, _SYNONYMS)
        size = _whole("chunk", options.get("chunk", 1))
        buffer = _whole("buffer", options.get("buffer", 1 if self._crew.at_once else _AHEAD))
        if size > 1 and self._crew.has_policies:
            raise InvalidOption(
                f"chunk={size} would have one attempt, one timeout and one place in the limits for "
                f"{size} items; leave chunk= away, or take a pool without policies",
                option="chunk",
                value=size,
            )
        timeout = options.get("timeout")
        sender = (Single if size == 1 else Chunked)(self._crew.submit, self._kind, self._what)
        return Results(
            sender,
            chunks(items, size),
            ahead=max(1, buffer // size),
            ordered=_flag("ordered", options.get("ordered", True)),
            timeout=None if timeout is None else seconds(timeout, "timeout"),
            return_exceptions=_flag("return_exceptions", options.get("return_exceptions", False)),
            bar=shown(options.get("progress", False), total),
            clock=self._crew.clock,
        )


_KNOWN = tuple(MapOptions.__annotations__)
_SYNONYMS = {"chunksize": "chunk", "buffersize": "buffer"}


def _flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidOption(
            f"{option}={value!r} has to be True or False", option=option, value=value
        )
    return value


def _whole(option: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidOption(
            f"{option}={value!r} has to be a whole number from 1 on", option=option, value=value
        )
    return value
