"""Dependencies: made when a task runs, kept for their scope, closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from treadle.clock import Clock
from treadle.injected import (
    Dependency,
    Depends,
    Injected,
    Scope,
    check_parameters,
    is_generator,
    is_plain,
)
from treadle.pools.sites.site import Invoke

if TYPE_CHECKING:
    from treadle.context import Context

__all__ = [
    "Asking",
    "Dependency",
    "Depends",
    "Home",
    "Injected",
    "Level",
    "Scopes",
    "in_thread",
]

_Made = dict[Callable[..., Any], asyncio.Future[Any]]


class Level:
    """The values of one scope that outlives jobs, and how they are closed."""

    def __init__(self) -> None:
        self.made: _Made = {}
        self.stack = AsyncExitStack()
        self.users = 0

    async def aclose(self) -> None:
        """Close in reverse order of making."""
        self.made.clear()
        await self.stack.aclose()


class Home(Protocol):
    """What dependencies belong to: an app."""

    clock: Clock
    # Of dependencies, for tests.
    overrides: dict[Callable[..., Any], Callable[..., Any]]

    def app_level(self) -> Level:
        """The values of the running loop that live as long as the app."""
        ...


class Asking(Protocol):
    """What has injected parameters: a task."""

    @property
    def injected(self) -> tuple[tuple[str, Injected], ...]:
        """Their names and marks."""
        ...


class Scopes:
    """The dependencies of one foreman: its own, those of the app, those of each job."""

    def __init__(self, core: Home) -> None:
        self._core = core
        self._foreman = Level()
        self._app: Level | None = None

    async def open(self) -> None:
        """Share the values of the app in this event loop."""
        self._app = self._core.app_level()
        self._app.users += 1

    async def aclose(self) -> None:
        """Close what lives as long as the foreman, and the app's when nobody else uses it."""
        try:
            await self._foreman.aclose()
        finally:
            app, self._app = self._app, None
            if app is not None:
                app.users -= 1
                if app.users == 0:
                    await app.aclose()

    async def inject(
        self, task: Asking, ctx: Context, stack: AsyncExitStack, invoke: Invoke
    ) -> dict[str, Any]:
        """The values of the injected parameters of a task.

        Args:
            task: whose parameters.
            ctx: the attempt.
            stack: closes what lives as long as the attempt. It gets the error of the task,
                so that a generator can roll back; it cannot swallow it.
            invoke: calls plain functions.
        """
        made: _Made = {}
        making = _Making(self, ctx, stack, invoke, made)
        return await making.fill(task.injected)

    def level(self, scope: Scope) -> Level:
        """The values of a scope that outlives jobs."""
        if scope is Scope.FOREMAN:
            return self._foreman
        if self._app is None:
            self._app = self._core.app_level()
            self._app.users += 1
        return self._app


class _Making:
    """The values of one attempt while they are made."""

    __slots__ = ("_ctx", "_made", "_overrides", "_invoke", "_scopes", "_stack")

    def __init__(
        self,
        scopes: Scopes,
        ctx: Context,
        stack: AsyncExitStack,
        invoke: Invoke,
        made: _Made,
    ) -> None:
        self._scopes = scopes
        self._ctx = ctx
        self._stack = stack
        self._invoke = invoke
        self._made = made
        self._overrides: Mapping[Callable[..., Any], Callable[..., Any]] = scopes._core.overrides

    async def fill(self, injected: tuple[tuple[str, Injected], ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, mark in injected:
            values[name] = await self._value(mark) if isinstance(mark, Dependency) else self._ctx
        return values

    async def _value(self, mark: Dependency) -> Any:
        fn = self._overrides.get(mark.fn, mark.fn)
        if mark.scope is Scope.JOB:
            made, stack = self._made, self._stack
        else:
            level = self._scopes.level(mark.scope)
            made, stack = level.made, level.stack
        if not mark.cache:
            return await self._make(fn, mark.scope, stack)
        while (future := made.get(fn)) is not None:
            if future.done():
                return future.result()
            try:
                # Another attempt is making it; our end must not end it for all.
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                us = asyncio.current_task()
                if not future.cancelled() or (us is not None and us.cancelling()):
                    raise
                # The one who was making it was cancelled, not we: make it ourselves.
        return await self._first(fn, mark.scope, made, stack)

    async def _first(
        self, fn: Callable[..., Any], scope: Scope, made: _Made, stack: AsyncExitStack
    ) -> Any:
        future = made[fn] = asyncio.get_running_loop().create_future()
        try:
            value = await self._make(fn, scope, stack)
        except BaseException as error:
            made.pop(fn, None)  # the next one to ask tries again
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()
            raise
        future.set_result(value)
        return value

    async def _make(self, fn: Callable[..., Any], scope: Scope, stack: AsyncExitStack) -> Any:
        values = await self.fill(check_parameters(fn, scope))
        # What outlives the attempt cannot be closed by its place, which may be gone by then.
        invoke = self._invoke if scope is Scope.JOB else in_thread
        if not is_generator(fn):
            if is_plain(fn):
                return await invoke(fn, (), values)
            return await fn(**values)
        if is_plain(fn):
            closing: Any = _Elsewhere(contextmanager(fn)(**values), invoke)
        else:
            closing = asynccontextmanager(fn)(**values)
        return await stack.enter_async_context(_Reporting(closing))


async def in_thread(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a plain function returns, called in a thread that nobody owns."""
    return await asyncio.to_thread(fn, *args, **kwargs)


class _Elsewhere:
    """A plain context manager that is entered and left where plain functions run."""

    def __init__(self, manager: Any, invoke: Invoke) -> None:
        self._manager = manager
        self._invoke = invoke

    async def __aenter__(self) -> Any:
        return await self._invoke(self._manager.__enter__, (), {})

    async def __aexit__(self, *error: Any) -> Any:
        return await self._invoke(self._manager.__exit__, error, {})


class _Reporting:
    """A context manager that learns of the error and cannot swallow it.

    A job whose dependency hides its failure would look successful without a result.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        return await self._manager.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._manager.__aexit__(kind, error, trace)
