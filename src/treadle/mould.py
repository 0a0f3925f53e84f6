"""Makes the records of jobs from calls: what is the same for all calls is worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from treadle.context import CURRENT
from treadle.durability import Durability, gives
from treadle.errors import InvalidCall, Unsupported
from treadle.ports import Feature, durability_of
from treadle.records import NewJob, OnConflict

if TYPE_CHECKING:
    from treadle.codec import Codec, Shape
    from treadle.options import TaskOptions
    from treadle.ports import Backend, Routed
    from treadle.store import Store

__all__ = ["Mould", "Needs", "check_needs", "needs_of"]

_PLAIN = NewJob(id="", task="", payload=b"")
_FIELDS = (
    "queue", "priority", "due", "expires", "key_slots", "ordered", "after", "at_most_once",
    "max_crashes", "keep", "tags", "meta", "flow", "bound",
)  # fmt: skip


class Mould:
    """Jobs of one task with one set of options.

    Args:
        name: of the task.
        fn: its function.
        shape: encodes its arguments.
        options: what the jobs are given.
        injected: names of parameters that no caller fills.
    """

    __slots__ = (
        "_fits", "_fixed", "_fn", "_injected", "_name", "_options", "_pattern", "_shape",
        "_signature", "job_id", "needs", "queue", "spooled", "waits_for_room", "within",
    )  # fmt: skip

    def __init__(
        self, name: str, fn: Any, shape: Shape, options: TaskOptions, injected: frozenset[str]
    ) -> None:
        self._name = name
        self._fn = fn
        self._shape = shape
        self._options = options
        self._injected = injected
        # Given by the caller, for one job.
        self.job_id = options.id
        self.queue = options.queue
        self.waits_for_room = options.waits_for_room
        # The connection whose commit accepts the jobs.
        self.within = options.within
        # A caller who is told of a full queue or a duplicate has to wait for the store.
        unique = options.unique
        told = unique is not None and unique.pattern.on_conflict is OnConflict.ERROR
        self.spooled = options.spool and options.bound is None and not told
        # What the backend must be able to serve.
        self.needs = needs_of(options)
        # A store that is known to serve it, whatever becomes of that.
        self._fits: Store | None = None
        self._fixed = _fixed(name, options)
        self._signature: Signature | None = None
        limits = options.limits
        if limits is not None and limits.static:
            self._fixed["asks"] = limits.asks(name)
            limits = None
        if options.key or options.unique or limits:
            self._signature = _visible(fn, injected)
        # A copy with another id costs a fraction of a new record.
        self._pattern = NewJob(id="", task=name, payload=b"", **self._fixed)

    def check(self, store: Store) -> None:
        """Return when a store gives what the task needs; see :func:`check_needs`."""
        needs = self.needs
        if needs is None or store is self._fits:
            return
        check_needs(needs, store, self._name, self.queue)
        if needs.durability is None and store.spool is None and store.several is None:
            self._fits = store

    def declared(self) -> NewJob:
        """What all jobs of the task have in common, as far as others count it."""
        alike = {name: self._fixed[name] for name in ("queue", "asks") if name in self._fixed}
        return NewJob(id="", task=self._name, payload=b"", **alike)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The arguments of a call, checked.

        Raises:
            InvalidCall: they do not fit the parameters.
            NotEncodable: a value does not fit its annotation.
        """
        if self._injected and not self._injected.isdisjoint(kwargs):
            name = next(name for name in kwargs if name in self._injected)
            raise InvalidCall(
                f"{name!r} of task {self._name!r} is injected where the job runs and cannot be "
                "given when it is enqueued; leave it away",
                task=self._name,
            )
        return self._shape.encode(args, kwargs)

    def cast(
        self, job_id: str, payload: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> NewJob:
        """The record of a job with a sealed payload.

        Raises:
            UsageError: it would be one too many of those that have each enqueued the next one.
        """
        pattern = self._pattern
        attempting = CURRENT.get()
        if attempting is not None:
            pattern = replace(pattern, **attempting.descent(at_once="due" not in self._fixed))
        if self._signature is None:
            return replace(pattern, id=job_id, payload=payload)
        arguments = self.arguments(args, kwargs)
        options = self._options
        fields: dict[str, Any] = {}
        if options.key is not None:
            fields["key"] = options.key(arguments)
        if options.unique is not None:
            fields["unique"] = options.unique.of(arguments)
        if options.limits is not None and not options.limits.static:
            fields["asks"] = options.limits.asks(self._name, arguments)
        return replace(pattern, id=job_id, payload=payload, **fields)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        """What a call gives each parameter, defaults included. It was accepted before."""
        visible = self._signature or _visible(self._fn, self._injected)
        bound = visible.bind(*args, **kwargs)  # the shape has accepted them
        bound.apply_defaults()
        return bound.arguments

    def seal(
        self, codec: Codec, job_id: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The payload of a job, bound to it.

        Raises:
            PayloadTooLarge: with the headers it is over the bound.
        """
        if codec.plain:
            return codec.seal(body, headers)
        return codec.seal(body, headers, associated=codec.binding(self._name, job_id))


def _fixed(name: str, options: TaskOptions) -> dict[str, Any]:
    """The fields of a job that differ from the defaults of the record."""
    values = {field: getattr(options, field) for field in _FIELDS}
    values["timeout"] = options.call_timeout
    values["retries"] = options.call_retries
    values["retry"] = options.call_retry
    if options.after is not None and not options.after.ids:
        values["after"] = None  # only says what would become of it
    return {field: value for field, value in values.items() if value != getattr(_PLAIN, field)}


def _visible(fn: Any, injected: frozenset[str]) -> Signature:
    whole = signature(fn)
    shown: list[Parameter] = [one for one in whole.parameters.values() if one.name not in injected]
    return whole.replace(parameters=shown)


class Needs(msgspec.Struct, frozen=True):
    """What a task needs of its store."""

    features: frozenset[Feature]
    durability: Durability | None


def needs_of(options: TaskOptions) -> Needs | None:
    """What a store must give for these options; ``None`` when any will do."""
    features = _features(options)
    if not features and options.durability is None:
        return None
    return Needs(features, options.durability)


def _features(options: TaskOptions) -> frozenset[Feature]:
    needs = {
        Feature.UNIQUE: options.unique is not None,
        Feature.KEYS: options.key is not None or options.limits is not None,
        Feature.AFTER: options.after is not None and bool(options.after.ids),
        Feature.PRIORITY: options.priority != 0,
        Feature.DELAY: options.due is not None,
        Feature.SHARED: options.breaker is not None,
        # A breaker that half opens lets one job of the whole queue run.
        Feature.BOUNDS: options.bound is not None or options.breaker is not None,
        Feature.TRANSACTIONS: options.transaction or options.within is not None,
    }
    return frozenset(feature for feature, needed in needs.items() if needed)


def check_needs(needs: Needs | None, store: Store, task: str, queue: str) -> None:
    """Return when the store of a queue gives what a task needs, as far as it is known by now.

    Raises:
        Unsupported: naming the backend and what it lacks.
    """
    if needs is None:
        return
    backend = store.backend()
    features = backend.features
    several = store.several
    if several is not None:
        backend = several.parts[several.route(queue)]
        features = backend.features
        if not several.alone(queue):
            # Nobody counts the jobs of subqueues that live elsewhere.
            features -= {Feature.BOUNDS}
    missing = needs.features - features
    if missing:
        raise _unserved(min(missing), backend, several, task, queue)
    # What runs in the process that enqueues it, in a test, is gone with it whatever the store.
    if needs.durability is not None and store.eager is None:
        _check_durability(needs.durability, backend, task)


def _check_durability(wanted: Durability, backend: Backend, task: str) -> None:
    given = durability_of(backend)
    if given is None or gives(given, wanted):
        return
    raise Unsupported(
        f"{backend.url} gives durability={str(given)!r}, and task {task!r} needs "
        f"{str(wanted)!r}; 'treadle doctor' says how to have more of it, or take the option away",
        backend=backend.url,
        feature=f"durability={wanted}",
    )


def _unserved(
    feature: Feature, backend: Backend, several: Routed | None, task: str, queue: str
) -> Unsupported:
    """The error of a task that needs what the store of its queue does not serve."""
    who, way = backend.url, "use another backend"
    if backend.url.startswith("amqp") and Feature.RECORDS not in backend.features:
        way = "give it a companion='redis://…'"
    if several is not None:
        others = ", ".join(f"{one!r} ({part.url})" for one, part in several.parts.items())
        who = f"backend {several.route(queue)!r} ({who}), to which queue {queue!r} is routed,"
        way = f"route the queue with its subqueues to one that does. Backends: {others}"
    return Unsupported(
        f"{who} does not serve {feature.value!r}, which task {task!r} needs; take the option away, "
        f"or {way}",
        backend=backend.url,
        feature=feature.value,
    )
