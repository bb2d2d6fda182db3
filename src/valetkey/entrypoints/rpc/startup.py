"""Startup functions; one that fails ends the start."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from valetkey.errors import StartupFailed
from valetkey.identity.handlers import outcome, presentable
from valetkey.identity.login import SERVICE
from valetkey.model.workspaces import PUBLIC
from valetkey.services.handle import Server
from valetkey.services.own import register_login
from valetkey.services.table import ServiceTable
from valetkey.tools.threads import THREADS

if TYPE_CHECKING:
    from valetkey.identity.chain import Chain
    from valetkey.wiring.identity import Identity
    from valetkey.wiring.services import Services

DEADLINE = 60.0
"""Seconds that one startup function may take, its module included."""

_SHOWN = 500  # characters of an exception's text

_log = logging.getLogger("valetkey")


async def start_services(
    identity: Identity,
    functions: Sequence[str],
    *,
    plain: Chain,
    base_url: str,
    services: Services | None = None,
    deadline: float = DEADLINE,
) -> ServiceTable:
    """Run the startup functions in order, on the home loop and before any door opens; give what is registered then.

    Args:
        identity: the rooms of the server.
        functions: ``file.py:function`` or ``module:function``.
        plain: the chain without what the functions put in place; see `identity.verifiers.custom.around`.
        base_url: the public address.
        services: the rooms of RPC; None: there is nothing but what the functions register.
        deadline: seconds that each may take.

    Raises:
        StartupFailed: one cannot be found, is not asynchronous, raised or took too long. Nothing stays in place.
    """
    table = ServiceTable(permission_of=identity.workspaces.permission) if services is None else services.table
    identity.plugin.open(plain=plain, home=identity.system.home, forget=identity.chain.forget, in_thread=THREADS.run)
    server = Server(
        table=table,
        plugin=identity.plugin,
        login=identity.login,
        tokens=identity.tokens,
        chain=identity.chain,
        plain=plain,
        entropy=identity.system.entropy,
        public_base_url=base_url,
        manager=None if services is None else services.manager,
        objects=None if services is None else services.objects,
        directory=None if services is None else services.directory,
        calls_now=lambda: identity.system.services.calls,
    )
    try:
        for name in functions:
            await run_startup_function(name, server, deadline=deadline)
            _log.info("the startup function %s has run", name)
    except BaseException:
        end_services(identity, table)
        raise
    if not table.has(PUBLIC, SERVICE):
        register_login(table, identity.login)
    return table


def end_services(identity: Identity, table: ServiceTable) -> None:
    """The server ends: nothing is registered any more, and no parser is asked."""
    table.clear()
    identity.plugin.reset()
    identity.plugin.close()


async def run_startup_function(name: str, server: object, *, deadline: float = DEADLINE) -> None:
    """Load one and run it.

    Raises:
        StartupFailed: with its name, and what went wrong, in one line.
    """
    try:
        async with asyncio.timeout(deadline) as limit:
            await _function(await _loaded(name), name)(server)
    except StartupFailed:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise StartupFailed(_failed(name, error)) from None
    except BaseException as error:
        if isinstance(error, TimeoutError) and limit.expired():
            raise StartupFailed(
                f"The startup function {name} did not end within {deadline:g} s. Start what takes longer as a task."
            ) from None
        raise StartupFailed(_failed(name, error)) from error


async def _loaded(name: str) -> ModuleType:
    """Its module, loaded in a thread: its code may block."""
    module: ModuleType
    module, error = await THREADS.run(lambda: outcome(_load, (name,)))
    if error is not None:
        raise error
    return module


def _load(name: str) -> ModuleType:
    """The module of a startup function; one file is loaded once.

    Raises:
        StartupFailed: there is none.
        Exception: whatever its code raises.
    """
    place, colon, function = name.rpartition(":")
    if not colon or not place or not function.isidentifier():
        raise StartupFailed(f"{name} names no startup function. Write file.py:function or module:function.")
    if not place.endswith(".py"):
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # as `python -m` has it
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{place}.".startswith(f"{error.name}."):
                raise StartupFailed(f"The startup function {name} was not found: no module {place}.") from None
            raise
    path = Path(place).resolve()
    if not path.is_file():
        raise StartupFailed(f"The startup function {name} was not found: no file {place}.")
    known = f"valetkey_startup_{path.stem}_{abs(hash(str(path))):x}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path)
    if spec is None or spec.loader is None:
        raise StartupFailed(f"The startup function {name} was not found: {place} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module  # dataclasses and models look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


def _function(module: ModuleType, name: str) -> Callable[[object], Any]:
    function: Callable[[object], Any] | None = getattr(module, name.rpartition(":")[2], None)
    if function is None:
        raise StartupFailed(f"The startup function {name} was not found: its module has no function of that name.")
    if not inspect.iscoroutinefunction(function):
        raise StartupFailed(f"The startup function {name} has to be asynchronous: async def f(server).")
    return function


def _failed(name: str, error: BaseException) -> str:
    text = " ".join(presentable(error).split())[:_SHOWN]
    return f"The startup function {name} failed: {type(error).__name__}{': ' if text else ''}{text}"
