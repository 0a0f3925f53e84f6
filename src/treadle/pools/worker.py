"""Stateful workers: a class becomes one by its base."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import (
    Parameter,
    getattr_static,
    iscoroutinefunction,
    ismemberdescriptor,
    signature,
)
from typing import Any, ClassVar, Generic, Self, TypeVar, Unpack

from msgspec import Struct
from msgspec.structs import replace

from treadle.errors import InvalidOption
from treadle.pools.crew import Crew
from treadle.pools.defaults import with_defaults
from treadle.pools.handle import Handle
from treadle.pools.limiting.limitset import LIMITS
from treadle.pools.options import (
    OPTIONS,
    Mode,
    PoolOptions,
    WorkerOptions,
    check_handle,
    read_pool_options,
)
from treadle.pools.resident import Plan

__all__ = ["Worker", "WorkerBuilder"]

W = TypeVar("W")
_TAKEN = frozenset(
    {"arestart", "astop", "call", "init", "keyed", "map", "options", "resize", "starmap", "stats"}
)
_GIVEN = frozenset({"index", "limits"})
_ANY = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class Worker:
    """Base of classes whose objects live in a place of their own and keep state between calls.

    ::

        class Counter(Worker):
            def __init__(self, start: int = 0):
                self.value = start

            def add(self, n: int) -> int:
                self.value += n
                return self.value


        with Counter.options(mode="thread").init(10) as counter:
            assert counter.add(5).result() == 15

    Optional, plain or asynchronous: ``start()`` once the object is made, ``stop()`` at its end,
    ``healthy()`` tells whether it can go on, ``restart()`` instead of ``stop`` and ``start``.
    Options that hold for each handle of the class, unless it is given others, stand in its first
    line: ``class Model(Worker, mode="process", max_workers=4)``.

    ``self.index`` is its number in the pool, ``self.limits`` the limits of the pool: a set without
    any, which grants at once, when it has none.
    """

    # Without annotations, which models would take for fields.
    index = 0
    limits = LIMITS

    # Options that hold for each handle of the class unless others are given.
    _worker_options: ClassVar[PoolOptions] = PoolOptions()

    def __init_subclass__(cls, **options: Unpack[WorkerOptions]) -> None:
        ours = {name: value for name, value in options.items() if name in OPTIONS}
        others: dict[str, Any] = {name: options[name] for name in options.keys() - ours.keys()}  # type: ignore[literal-required]
        try:
            super().__init_subclass__(**others)
        except TypeError:
            read_pool_options(others)  # says what it may have meant
            raise
        if ours:
            cls._worker_options = read_pool_options(ours, cls._worker_options)
        taken = sorted(_TAKEN & set(vars(cls)))
        if taken:
            raise InvalidOption(
                f"{cls.__name__}.{taken[0]} has the name of a method of its handle, so nobody "
                "could call it; give it another one",
                option=taken[0],
                value=cls,
            )
        hidden = sorted(name for name in _GIVEN if callable(vars(cls).get(name)))
        if hidden:
            raise InvalidOption(
                f"{cls.__name__}.{hidden[0]} has the name of what each worker is given, its number "
                "and its limits; give it another one",
                option=hidden[0],
                value=cls,
            )

    @classmethod
    def options(cls, **options: Unpack[WorkerOptions]) -> WorkerBuilder[Self]:
        """How the workers are to live: ``Model.options(mode="process", max_workers=4)``.

        Raises:
            UnknownOption: an option that does not exist.
            InvalidOption: a value that cannot work.
        """
        return WorkerBuilder(cls, read_pool_options(options, cls._worker_options))

    @classmethod
    def init(cls, *args: Any, **kwargs: Any) -> Handle[Self]:
        """Workers with the options of the class; see :meth:`WorkerBuilder.init`."""
        return WorkerBuilder(cls, cls._worker_options).init(*args, **kwargs)


def _has_room(cls: type[Any]) -> bool:
    """Whether attributes can be set on its objects."""
    slot = getattr_static(cls, "index", None)
    return issubclass(cls, Struct) or cls.__dictoffset__ != 0 or ismemberdescriptor(slot)


class WorkerBuilder(Generic[W]):
    """A class of workers, their options, and what they are made from."""

    def __init__(
        self,
        cls: type[W],
        options: PoolOptions,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.cls = cls
        self.pool_options = options
        self._args = args
        self._kwargs = dict(kwargs or {})

    @classmethod
    def of(cls, value: type[W] | WorkerBuilder[W]) -> WorkerBuilder[W]:
        """What an option holds: a class, or one with options.

        Raises:
            InvalidOption: it is neither.
        """
        if isinstance(value, WorkerBuilder):
            return value
        if not isinstance(value, type):
            raise InvalidOption(
                f"worker={value!r} is not a class of workers, nor one with options: "
                "Browser, or Browser.options(max_workers=4)",
                option="worker",
                value=value,
            )
        if not _has_room(value):
            raise InvalidOption(
                f"worker={value.__name__} is no class of workers: its objects have no room for "
                "what a worker is given, such as index; write class Browser(Worker): …",
                option="worker",
                value=value,
            )
        return cls(value, getattr(value, "_worker_options", PoolOptions()))

    def __repr__(self) -> str:
        return f"<WorkerBuilder {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkerBuilder) and self._facts == other._facts

    def __hash__(self) -> int:
        return hash(self.cls)

    @property
    def _facts(self) -> tuple[Any, ...]:
        return self.cls, self.pool_options, self._args, self._kwargs

    @property
    def name(self) -> str:
        """For messages."""
        return self.pool_options.name or self.cls.__name__

    @property
    def natural_mode(self) -> Mode:
        """Where the code of the class is at home: asynchronous methods in an event loop."""
        code = (getattr(self.cls, name, None) for name in dir(self.cls))
        return "asyncio" if any(map(iscoroutinefunction, code)) else "thread"

    def moded(self, mode: Mode) -> PoolOptions:
        """The options, in the mode if nobody has set one."""
        options = self.pool_options
        return options if "mode" in options.given else replace(options, mode=mode)

    @property
    def plan(self) -> Plan:
        """How one worker is made."""
        return Plan(cls=self.cls, args=self._args, kwargs=self._kwargs, name=self.name)

    def check_made(self) -> None:
        """Return when its workers can be made from what it has.

        Raises:
            InvalidOption: naming the parameters for which there is no argument.
        """
        try:
            parameters = signature(self.cls)
        except (TypeError, ValueError):  # a class whose constructor says nothing of itself
            return
        name, given = self.cls.__name__, (self._args, self._kwargs)
        try:
            bound = parameters.bind_partial(*self._args, **self._kwargs).arguments
        except TypeError as error:
            raise InvalidOption(
                f"worker={name} cannot be made from what it was bound to: {error}",
                option="worker",
                value=given,
            ) from None
        missing = [
            one.name
            for one in parameters.parameters.values()
            if one.default is one.empty and one.kind not in _ANY and one.name not in bound
        ]
        if missing:
            raise InvalidOption(
                f"worker={name} cannot be made without {', '.join(missing)}: bind arguments, "
                f"{name}.options(…).bind({', '.join(f'{one}=…' for one in missing)})",
                option="worker",
                value=given,
            )

    def options(self, **options: Unpack[WorkerOptions]) -> WorkerBuilder[W]:
        """A copy with other options."""
        read = read_pool_options(options, self.pool_options)
        return WorkerBuilder(self.cls, read, self._args, self._kwargs)

    def bind(self, *args: Any, **kwargs: Any) -> WorkerBuilder[W]:
        """A copy whose workers are made from these arguments, after those bound before."""
        together = {**self._kwargs, **kwargs}
        return WorkerBuilder(self.cls, self.pool_options, (*self._args, *args), together)

    def init(self, *args: Any, **kwargs: Any) -> Handle[W]:
        """Make the workers, each from these arguments, and give the handle on them.

        Returns once they are started. Inside a running event loop it returns at once, they start
        meanwhile, and ``async with`` waits for it.

        Raises:
            WorkerNotStarted: one could not be made or started; the others are stopped again.
        """
        options = with_defaults(self.pool_options)
        check_handle(options)
        crew = Crew(self.bind(*args, **kwargs).plan, options)
        crew.start()
        return Handle(crew, self.cls)

    def adopt(self, *workers: W) -> Handle[W]:
        """Start workers that are made already, each with settings of its own, and give the handle.

        ::

            browsers = Browser.options(mode="thread").adopt(Browser("proxy-1"), Browser("proxy-2"))

        Their ``index`` is their position. Returns when :meth:`init` would.

        Raises:
            InvalidOption: the options are for another number of workers.
            WorkerNotStarted: one could not be started; the others are stopped again.
        """
        given = self.pool_options.given
        if "max_workers" in given or "on_demand" in given or not workers:
            raise InvalidOption(
                f"adopt() was given {len(workers)} workers: it needs one at least, and neither "
                "max_workers= nor on_demand=",
                option="max_workers",
                value=len(workers),
            )
        number = read_pool_options({"max_workers": len(workers)}, with_defaults(self.pool_options))
        check_handle(number)
        crew = Crew(self.plan, number, ready_made=workers)
        crew.start()
        return Handle(crew, self.cls)
