"""function_tool and tool: a Python function becomes a tool, and stays callable."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

from valetkey.entrypoints.pocket.default import default_system
from valetkey.entrypoints.pocket.running import in_loop, run
from valetkey.errors import AuthRequired, InvalidArguments, ToolFailed, UnknownProvider
from valetkey.identity.verifiers.vouched import HOST, owner_of
from valetkey.model.calls import Call, Presented
from valetkey.model.connections import DEFAULT_PROFILE
from valetkey.providers.inline import OAuthHandler
from valetkey.providers.names import AuthProvider
from valetkey.providers.registry import Registry
from valetkey.tools.function import DEADLINE, FunctionTool, function_to_tool
from valetkey.tools.tool import ToolAuth

THREAD = "default"

Decorated = Callable[[Callable[..., Any]], FunctionTool]


def from_func(
    func: Callable[..., Any],
    afunc: Callable[..., Any] | None = None,
    name: str | None = None,
    description: str | None = None,
    json_schema: Mapping[str, Any] | None = None,
    auth: ToolAuth | None = None,
    tool_vars: Mapping[str, str] | None = None,
) -> FunctionTool:
    """A tool of a function; ``afunc`` is its async form, where there is one, and is the one that is called.

    ``json_schema`` is what models are told of its arguments, instead of what the annotations say; those still judge.

    Raises:
        InvalidArguments: an annotation cannot be resolved, or has no JSON schema.
    """
    made = _make(afunc or func, name=name or func.__name__, description=description, auth=auth, tool_vars=tool_vars)
    if json_schema is None:
        return made
    return replace(made, signature=replace(made.signature, schema={"properties": {}, **json_schema}))


@overload
def function_tool(func: Callable[..., Any], /) -> FunctionTool: ...


@overload
def function_tool(
    func: None = None,
    *,
    auth_provider: AuthProvider | None = None,
    scopes: Sequence[str] | None = None,
    auth_handler: str | None = None,
    tool_vars: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
) -> Decorated: ...


def function_tool(
    func: Callable[..., Any] | None = None,
    *,
    auth_provider: AuthProvider | None = None,
    scopes: Sequence[str] | None = None,
    auth_handler: str | None = None,
    tool_vars: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
) -> FunctionTool | Decorated:
    """Make a tool of a function; bare, or called with the account that it needs.

    Args:
        func: the function, where the decorator is used bare.
        auth_provider: whose account it needs.
        scopes: what it has to be allowed to do there.
        auth_handler: how the account is connected; the provider's default when not given.
        tool_vars: further values that it reads by name.
        deadline: seconds that it may run.

    Raises:
        InvalidArguments: an annotation cannot be resolved, or has no JSON schema.
        UnknownProvider: there is no such provider.
    """
    if isinstance(func, AuthProvider):
        raise InvalidArguments(f"Name the argument: @function_tool(auth_provider=AuthProvider.{func.name}).")
    auth = None
    if auth_provider is not None or auth_handler is not None:
        provider = None if auth_provider is None else AuthProvider(auth_provider)
        auth = ToolAuth(scopes=scopes, auth_provider=provider, auth_handler=auth_handler)

    def decorate(decorated: Callable[..., Any]) -> FunctionTool:
        return _make(decorated, auth=auth, tool_vars=tool_vars, deadline=deadline)

    return decorate if func is None else decorate(func)


@overload
def tool(func: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(
    func: None = None,
    *,
    auth: OAuthHandler | ToolAuth | AuthProvider | str | None = None,
    name: str | None = None,
    description: str | None = None,
    tool_vars: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
) -> Decorated: ...


def tool(
    func: Callable[..., Any] | None = None,
    *,
    auth: OAuthHandler | ToolAuth | AuthProvider | str | None = None,
    name: str | None = None,
    description: str | None = None,
    tool_vars: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
) -> FunctionTool | Decorated:
    """Make a tool of a function; bare, or called with the account that it needs.

    Args:
        func: the function, where the decorator is used bare.
        auth: a provider in code (:class:`OAuthHandler`), a :class:`ToolAuth`, or a provider's name.
        name: as models call it; the function's own by default.
        description: what models are told; the docstring's by default.
        tool_vars: further values that it reads by name.
        deadline: seconds that it may run.

    Raises:
        InvalidArguments: an annotation cannot be resolved, or has no JSON schema; or ``auth`` is none of these.
    """
    inline = auth if isinstance(auth, OAuthHandler) else None
    needed: ToolAuth | None
    if inline is not None:
        provider = AuthProvider.register(inline.name)
        needed = ToolAuth(scopes=sorted(inline.scopes), auth_provider=provider)
    elif isinstance(auth, AuthProvider | str):
        needed = ToolAuth(auth_provider=AuthProvider(auth))
    elif auth is None or isinstance(auth, ToolAuth):
        needed = auth
    else:
        kind = type(auth).__name__
        raise InvalidArguments(f"auth= takes an OAuthHandler, a ToolAuth or an AuthProvider; this is {kind}.")

    def decorate(decorated: Callable[..., Any]) -> FunctionTool:
        return _make(
            decorated,
            name=name,
            description=description,
            auth=needed,
            inline=inline,
            tool_vars=tool_vars,
            deadline=deadline,
        )

    return decorate if func is None else decorate(func)


def _make(
    func: Callable[..., Any],
    *,
    auth: ToolAuth | None,
    name: str | None = None,
    description: str | None = None,
    inline: OAuthHandler | None = None,
    tool_vars: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
) -> FunctionTool:
    if isinstance(func, FunctionTool):
        func = func.func
    return function_to_tool(
        func,
        name=name,
        description=description,
        auth=auth,
        inline=inline,
        variables=frozenset({inline.variable}) if inline is not None else _variables(auth),
        tool_vars=tool_vars,
        deadline=deadline,
        direct=_travel,
    )


def _variables(auth: ToolAuth | None) -> frozenset[str]:
    """The names under which the account's credential may come, by whichever of the provider's handlers."""
    if auth is None:
        return frozenset()
    registry = Registry()
    if auth.auth_provider is None:
        try:
            return frozenset(registry.find_handler(auth.auth_handler or "")[1].variables)
        except UnknownProvider:
            # A handler of the host program's own: it is known when the Pocket is.
            return frozenset()
    default = f"{auth.auth_provider.name}_TOKEN"
    try:
        provider = registry.get(auth.auth_provider.value)
    except UnknownProvider:
        return frozenset({default})
    return frozenset({default}.union(*(entry.variables for entry in provider.handlers)))


def _travel(called: FunctionTool, arguments: Mapping[str, object]) -> Any:
    """A plain call: the road, for the default owner."""
    if inspect.iscoroutinefunction(called.func):
        return _wait_and_go(called, arguments)
    if not in_loop():
        return run(lambda: _wait_and_go(called, arguments))
    try:
        return run(lambda: _go(called, arguments))
    except AuthRequired as required:
        raise AuthRequired(
            f"{called.name} needs an account first, and a running loop cannot wait for a person. Put the tool into a "
            f"Pocket, and use: await pocket.ainvoke({called.name!r}, {{…}}). {required.message}",
            url=required.url,
            provider=required.provider,
            code=(required.user_code, required.verification_uri),
        ) from None


async def _wait_and_go(called: FunctionTool, arguments: Mapping[str, object]) -> Any:
    try:
        return await _go(called, arguments)
    except AuthRequired as required:
        sys.stderr.write(f"{required.message}\n")
        sys.stderr.flush()
    system = default_system()
    for need in called.needs.alternatives[0]:
        await system.connecting.authenticate(owner_of(THREAD), need, DEFAULT_PROFILE)
    return await _go(called, arguments)


async def _go(called: FunctionTool, arguments: Mapping[str, object]) -> Any:
    system = default_system()
    if called.inline is not None:
        system.add_inline(called.inline)
    called = called.configured(system.config.general.tool_vars)
    call = Call(
        tool=called.name,
        needs=called.needs,
        arguments=arguments,
        entrance="pocket",
        conversation=THREAD,
        deadline=called.deadline,
    )
    result = await system.road.travel(Presented(scheme=HOST, value=THREAD), called, call)
    if result.failed:
        raise ToolFailed(str(result.value))
    return result.value
