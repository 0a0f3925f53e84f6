"""Tasks: functions with options, and the verbs that make jobs of their calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from inspect import iscoroutinefunction, signature
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeGuard,
    TypeVar,
    overload,
)

import msgspec

from treadle.codec import Shape
from treadle.enqueueing import Call, follow_up, is_call, send, send_many
from treadle.errors import InvalidCall, NotOpen, UsageError
from treadle.guards import is_mapping, is_tuple
from treadle.injected import Injected, injected_of
from treadle.mould import Mould
from treadle.naming import task_name
from treadle.options import DeclareOptions, Facts, Options, TaskOptions, read_options

if TYPE_CHECKING:
    from typing import Unpack

    from treadle.core import Core
    from treadle.job import Job
    from treadle.records import NewJob

__all__ = ["AsyncTask", "Call", "Decorator", "PlainTask", "Task", "declare", "is_task", "task"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Registration:
    """What all copies of a task share: the function, its name, its app."""

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        self.fn = fn
        self.name = name
        self.is_async = iscoroutinefunction(fn)
        self.injected: tuple[tuple[str, Injected], ...] = injected_of(fn)
        self.hidden = frozenset(name for name, _ in self.injected)
        self.shape: Shape
        # The task as it was declared, of which the others are copies.
        self.declared: Task[..., Any]
        self.core: Core | None = None

    @functools.cached_property
    def facts(self) -> Facts:
        visible = [name for name in signature(self.fn).parameters if name not in self.hidden]
        return Facts(self.name, self.is_async, tuple(visible))


class Task(Generic[P, R_co]):
    """A registered function with its options. Made by ``@app.task`` or ``@treadle.task``.

    Calling it calls the function. ``enqueue`` makes a durable job of the call.
    """

    def __init__(self, registration: Registration, options: TaskOptions) -> None:
        self._registration = registration
        self._options: Options[Self] = Options(
            **msgspec.structs.asdict(options),
            copy=self._with,  # type: ignore[arg-type]  # mypy does not see that it is Self
        )
        self._mould: Mould | None = None
        # What is asked for with every job is a plain attribute.
        self.fn: Callable[..., Any] = registration.fn
        self.name = registration.name
        self.is_async = registration.is_async
        self.mode = options.mode
        self.injected = registration.injected
        wrapper: Any = self
        functools.update_wrapper(wrapper, registration.fn)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def core(self) -> Core | None:
        """The app that it belongs to."""
        return self._registration.core

    @property
    def shape(self) -> Shape:
        """Encodes its arguments and results."""
        return self._registration.shape

    @property
    def options(self) -> Options[Self]:
        """Its options; called, a copy with others: ``task.options(priority=10).enqueue(…)``."""
        return self._options

    @property
    def mould(self) -> Mould:
        """Makes the records of its jobs."""
        if self._mould is None:
            self._mould = Mould(
                self.name, self.fn, self.shape, self._options, self._registration.hidden
            )
        return self._mould

    def _with(self, options: Mapping[str, Any]) -> Self:
        fields = read_options(self._registration.facts, options, self._options, call=True)
        return type(self)(self._registration, _replaced(self._options, fields))

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """A call to be enqueued with others: ``app.enqueue_many([fetch.bind(url), …])``."""
        return Call(self, args, kwargs)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """A durable job of this call. Returns when the store has accepted it.

        Raises:
            InvalidCall, NotEncodable, PayloadTooLarge: the arguments cannot be a job's.
            QueueFull, DuplicateJob: the options of the task refuse it.
            OutcomeUnknown: the store did not answer.
            Blocking: an event loop runs here; await ``aenqueue``.
        """
        core = self._home()
        return self._call(core, lambda: send(core, Call(self, args, kwargs)), "enqueue")

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """A durable job of this call. Returns when the store has accepted it.

        Calls that are awaited at the same time are pushed together.

        Raises:
            InvalidCall, NotEncodable, PayloadTooLarge: the arguments cannot be a job's.
            QueueFull, DuplicateJob: the options of the task refuse it.
            OutcomeUnknown: the store did not answer.
        """
        return await send(self._home(), Call(self, args, kwargs))

    def enqueue_many(self, calls: Iterable[Any]) -> list[Job[R_co]]:
        """Jobs of many calls, pushed together.

        Args:
            calls: a tuple of positional arguments, a dict of named ones, or ``task.bind(…)``,
                for each call.
        """
        core = self._home()
        several = self._calls(calls)
        return self._call(core, lambda: send_many(core, several), "enqueue_many")

    async def aenqueue_many(self, calls: Iterable[Any]) -> list[Job[R_co]]:
        """Jobs of many calls, pushed together.

        Args:
            calls: a tuple of positional arguments, a dict of named ones, or ``task.bind(…)``,
                for each call.
        """
        return await send_many(self._home(), self._calls(calls))

    def follow_up(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Job[R_co], NewJob]:
        """A job that the end of the present attempt will push; see ``Context.enqueue``."""
        return follow_up(self._home(), Call(self, args, kwargs))

    def _calls(self, items: Iterable[Any]) -> list[Call[Any]]:
        calls: list[Call[Any]] = []
        for index, item in enumerate(items):
            if is_call(item):
                if item.task._registration is not self._registration:
                    raise InvalidCall(
                        f"item {index} is a call of {item.task.name!r}, not of {self.name!r}; "
                        "app.enqueue_many(…) takes calls of several tasks",
                        task=self.name,
                    )
                calls.append(item)
            elif is_tuple(item):
                calls.append(Call(self, item, {}))
            elif is_mapping(item):
                calls.append(Call(self, (), dict(item)))
            else:
                raise InvalidCall(
                    f"item {index} for task {self.name!r} is {item!r}; give the arguments of each "
                    "call as a tuple such as (1,), a dict, or task.bind(…)",
                    task=self.name,
                )
        return calls

    def _call(self, core: Core, verb: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
        short = self.name.rpartition(".")[2]
        return core.call(verb, f"{short}.{name}", f"{short}.a{name}")

    def _home(self) -> Core:
        core = self._registration.core
        if core is None:
            raise NotOpen(
                f"task {self.name!r} belongs to no app, so there is no place to enqueue it; "
                "take it in with app.include(…)"
            )
        return core

    def join(self, core: Core) -> None:
        """Become a task of an app. Harmless when it is one already.

        Raises:
            UsageError: it belongs to another app.
        """
        registration = self._registration
        if registration.core is core:
            return
        if registration.core is not None:
            raise UsageError(
                f"task {self.name!r} belongs to another app already, and a task has one; for "
                "tests, point that app elsewhere: app.override(url=…)"
            )
        core.adopt(registration.declared)
        registration.core = core


class PlainTask(Task[P, R_co]):
    """A task of a plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, here and now."""
        result: R_co = self.fn(*args, **kwargs)
        return result


class AsyncTask(Task[P, R_co]):
    """A task of an ``async def`` function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the function: a coroutine to be awaited here and now."""
        coroutine: Coroutine[Any, Any, R_co] = self.fn(*args, **kwargs)
        return coroutine


class Decorator(Protocol):
    """What ``@task(…)`` with options gives."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine is a result, too
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> PlainTask[P, R]: ...


def is_task(value: object) -> TypeGuard[Task[..., Any]]:
    """Whether it came from ``@app.task`` or ``@treadle.task``."""
    return isinstance(value, Task)


def declare(fn: Callable[..., Any], options: Mapping[str, Any], core: Core | None) -> Any:
    """The task of a function.

    Raises:
        InvalidOption: the function cannot be a task, or an option has a value that cannot work.
        UnknownOption: an option that does not exist.
    """
    if is_task(fn):
        raise UsageError(f"{fn.name!r} is a task already; task.options(…) gives a copy of it")
    given = dict(options)
    registration = Registration(fn, task_name(fn, given.get("name")))
    base = TaskOptions(mode="asyncio" if registration.is_async else "thread")
    fields = read_options(registration.facts, given, base, call=False)
    registration.shape = Shape.of(
        fn, skip=registration.hidden, name=registration.name, pickle=fields.get("pickle", False)
    )
    declared = msgspec.structs.replace(base, **fields)
    made: Task[..., Any]
    if registration.is_async:
        made = AsyncTask[..., Any](registration, declared)
    else:
        made = PlainTask[..., Any](registration, declared)
    registration.declared = made
    if core is not None:
        made.join(core)
    return made


def _replaced(options: Options[Any], fields: Mapping[str, Any]) -> TaskOptions:
    values = {name: getattr(options, name) for name in TaskOptions.__struct_fields__}
    return TaskOptions(**{**values, **fields})


@overload
def task(  # type: ignore[overload-overlap]  # a coroutine is a result, too
    fn: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncTask[P, R]: ...
@overload
def task(fn: Callable[P, R], /) -> PlainTask[P, R]: ...
@overload
def task(**options: Unpack[DeclareOptions]) -> Decorator: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """A task without an app, to be taken in by one later: ``app.include(module)``.

    Args:
        fn: the function, when there are no options.
        options: see :class:`~treadle.options.DeclareOptions`.
    """
    if fn is not None:
        return declare(fn, options, None)
    return functools.partial(declare, options=options, core=None)
