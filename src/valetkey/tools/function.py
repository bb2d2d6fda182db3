"""A Python function as a tool, called where its caller's loop is."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from valetkey.errors import InvalidArguments
from valetkey.model.calls import Lent
from valetkey.model.needs import PUBLIC, Need, Needs
from valetkey.providers.inline import OAuthHandler
from valetkey.tools.schema import Signature, describe
from valetkey.tools.threads import THREADS
from valetkey.tools.tool import Postprocessing, ToolAuth

DEADLINE = 180.0
"""Seconds that a tool may run where it does not say."""

_log = logging.getLogger("valetkey")

Direct = Callable[["FunctionTool", Mapping[str, object]], Any]


@dataclass(kw_only=True, eq=False)
class FunctionTool:
    """A function that a model can call, and a program too: calling it travels the same road.

    Attributes:
        func: the function itself.
        auth: the account it needs, as seed 000 spells it.
        inline: the provider that it brings along, if it does.
        tool_vars: values that it reads like a credential's, which are none.
        overridden: those of them that code has set for this copy of the tool; settings leave these alone.
        direct: how a plain call travels the road; the way in decides.
    """

    func: Callable[..., Any]
    name: str
    description: str
    signature: Signature = field(repr=False)
    needs: Needs = PUBLIC
    auth: ToolAuth | None = None
    inline: OAuthHandler | None = None
    variables: frozenset[str] = frozenset()
    tool_vars: Mapping[str, str] = field(default_factory=dict, repr=False)
    overridden: frozenset[str] = field(default=frozenset(), repr=False)
    postprocessings: tuple[Postprocessing, ...] = ()
    deadline: float = DEADLINE
    direct: Direct | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.func, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Travel the road for the default owner, and give the function's own value."""
        if self.direct is None:
            raise InvalidArguments(
                f"The tool {self.name} is not offered anywhere. Put it into a Pocket, and call that."
            )
        try:
            bound = inspect.signature(self.func).bind_partial(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(f"{self.name}: {error}.") from None
        arguments = dict(bound.arguments)
        for parameter in bound.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(parameter.name, {}))
        return self.direct(self, arguments)

    def __or__(self, postprocessing: Postprocessing) -> FunctionTool:
        """The same tool with one more postprocessing."""
        return self.with_postprocessing(postprocessing)

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of its arguments."""
        return self.signature.schema

    @property
    def argument_json_schema(self) -> Mapping[str, Any]:
        """The same, by the name that seed 000's library has for it."""
        return self.schema

    def get_description(self, use_profile: bool = False) -> str:  # noqa: FBT001, FBT002  # the contract's signature
        """What a model is told of it."""
        return self.description

    def with_postprocessing(self, postprocessing: Postprocessing) -> FunctionTool:
        """The same tool, whose value goes through one more function."""
        return replace(self, postprocessings=(*self.postprocessings, postprocessing))

    def with_postprocessings(self, postprocessings: Sequence[Postprocessing]) -> FunctionTool:
        """The same tool, whose value goes through these functions too."""
        return replace(self, postprocessings=(*self.postprocessings, *postprocessings))

    def override_tool_variables(self, variables: Mapping[str, str]) -> FunctionTool:
        """The same tool with other values for its variables."""
        overridden = self.overridden | variables.keys()
        return replace(self, tool_vars={**self.tool_vars, **variables}, overridden=overridden)

    def configured(self, settings: Mapping[str, str]) -> FunctionTool:
        """The same tool with what settings say of the variables that it has, but for those that code has overridden."""
        said = {name: settings[name] for name in self.tool_vars.keys() - self.overridden if name in settings}
        return replace(self, tool_vars={**self.tool_vars, **said}) if said else self

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """The arguments as the function takes them.

        Raises:
            InvalidArguments: they do not fit.
        """
        return self.signature.bind(arguments)

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> object:
        """Call the function: on this loop if it is async, else in a thread."""
        envs = {name: value.reveal() for name, value in lent.variables.items()}
        return await self._call(arguments, envs, lent.context)

    async def ainvoke(self, body: Mapping[str, object], envs: Mapping[str, str] | None = None, **context: str) -> Any:
        """Call the function off the road, with values of your own; for tests of a tool.

        Raises:
            InvalidArguments: the body does not fit.
        """
        return await self._call(self.bind(body), envs or {}, {"thread_id": "default", "profile": "default", **context})

    async def _call(self, arguments: Mapping[str, object], envs: Mapping[str, str], context: Mapping[str, str]) -> Any:
        keywords = self._keywords(arguments, {**self.tool_vars, **envs}, context)
        call = functools.partial(self.signature.call, self.func, keywords)
        if inspect.iscoroutinefunction(self.func):
            value = await call()
        else:
            value = await THREADS.run(call)
            if inspect.isawaitable(value):
                value = await value
        if inspect.isasyncgen(value):
            value = [item async for item in value]
        for postprocessing in self.postprocessings:
            value = await _postprocess(postprocessing, value)
        return value

    def invoke(self, body: Mapping[str, object], envs: Mapping[str, str] | None = None, **context: str) -> Any:
        """:meth:`ainvoke` for synchronous code, on a loop of its own; not inside a running one."""
        return asyncio.run(self.ainvoke(body, envs, **context))

    def _keywords(
        self, arguments: Mapping[str, object], envs: Mapping[str, str], context: Mapping[str, str]
    ) -> dict[str, object]:
        """An argument goes before the context's value of that name; a credential goes before both."""
        if self.signature.takes_kwargs:
            return {**context, **arguments, **envs}
        wanted = {name: context[name] for name in self.signature.wants if name in context}
        named = {name: envs[name] for name in self.signature.variables if name in envs}
        return {**wanted, **arguments, **named}


async def _postprocess(postprocessing: Postprocessing, value: Any) -> Any:
    try:
        processed = postprocessing(value)
        return await processed if inspect.isawaitable(processed) else processed
    except Exception as error:  # noqa: BLE001  # a postprocessing is the program's own code; its failure is the result
        name = getattr(postprocessing, "__name__", type(postprocessing).__name__)
        return f"Error in postprocessing `{name}`: {error}"


def needs_of(auth: ToolAuth | None) -> Needs:
    """What a ToolAuth asks for."""
    if auth is None or (auth.auth_provider is None and auth.auth_handler is None):
        return PUBLIC
    if isinstance(auth.scopes, str):
        raise InvalidArguments(f"scopes takes a list of scopes, and this is one text. Write [{auth.scopes!r}].")
    provider = "" if auth.auth_provider is None else auth.auth_provider.value
    return Needs(((Need(provider=provider, scopes=frozenset(auth.scopes or ()), handler=auth.auth_handler),),))


def function_to_tool(
    func: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    auth: ToolAuth | None = None,
    inline: OAuthHandler | None = None,
    variables: frozenset[str] = frozenset(),
    tool_vars: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
    direct: Direct | None = None,
) -> FunctionTool:
    """Make a tool of a function.

    Args:
        func: sync or async; its annotations and docstring become the schema.
        name: as models call it; the function's own by default.
        description: what models are told; the docstring without its parameters by default.
        auth: the account it needs.
        inline: the provider that it brings along.
        variables: names under which the account's credential comes: parameters of these names are no arguments.
        tool_vars: further values by name.
        deadline: seconds that it may run.
        direct: how a plain call travels the road.

    Raises:
        InvalidArguments: an annotation cannot be resolved, or has no JSON schema.
    """
    if tool_vars is not None and not isinstance(tool_vars, Mapping):
        raise InvalidArguments(f"tool_vars takes names with their values, not {type(tool_vars).__name__}.")
    if not isinstance(deadline, int | float) or not deadline > 0:
        raise InvalidArguments("deadline takes seconds: a number above 0.")
    signature = describe(func, variables=variables | frozenset(tool_vars or ()))
    name = name or str(getattr(func, "__name__", type(func).__name__))
    if auth is not None and not signature.takes_kwargs and not signature.variables - frozenset(tool_vars or ()):
        _log.warning(
            "the tool %s asks for an account, and takes neither **kwargs nor a parameter named like one of %s: "
            "it runs, and gets no token",
            name,
            sorted(variables) or "its variables",
        )
    return FunctionTool(
        func=func,
        name=name,
        description=signature.description if description is None else description,
        signature=signature,
        needs=needs_of(auth),
        auth=auth,
        inline=inline,
        variables=variables,
        tool_vars=dict(tool_vars or {}),
        deadline=deadline,
        direct=direct,
    )
