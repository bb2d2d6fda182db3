"""Valetkey signs in agents and their users, lends tools the credentials they need, and shows the model no secret.

The public names can be imported from here; each is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valetkey.connections.handler import (
        AuthContext as AuthContext,
        AuthenticateRequest as AuthenticateRequest,
        AuthenticateResponse as AuthenticateResponse,
        AuthHandlerInterface as AuthHandlerInterface,
    )
    from valetkey.connections.states import AuthState as AuthState
    from valetkey.entrypoints.pocket.auth import PocketAuth as PocketAuth
    from valetkey.entrypoints.pocket.config import (
        OAuth2AuthConfig as OAuth2AuthConfig,
        config as config,
    )
    from valetkey.entrypoints.pocket.decorators import (
        from_func as from_func,
        function_tool as function_tool,
        tool as tool,
    )
    from valetkey.entrypoints.pocket.futures import FutureStore as FutureStore
    from valetkey.entrypoints.pocket.pocket import Pocket as Pocket
    from valetkey.errors import (
        AmbiguousConnection as AmbiguousConnection,
        AuthExpired as AuthExpired,
        AuthRefused as AuthRefused,
        AuthRequired as AuthRequired,
        BlockedAddress as BlockedAddress,
        CouldNotTell as CouldNotTell,
        Denied as Denied,
        DuplicateTool as DuplicateTool,
        ExchangeFailed as ExchangeFailed,
        InvalidAnswer as InvalidAnswer,
        InvalidArguments as InvalidArguments,
        InvalidAuthState as InvalidAuthState,
        InvalidSetting as InvalidSetting,
        KeyUnavailable as KeyUnavailable,
        MissingSetting as MissingSetting,
        PortTaken as PortTaken,
        ProviderUnavailable as ProviderUnavailable,
        RefreshFailed as RefreshFailed,
        StoreUnavailable as StoreUnavailable,
        ToolFailed as ToolFailed,
        ToolTimeout as ToolTimeout,
        Unauthenticated as Unauthenticated,
        UnknownProvider as UnknownProvider,
        UnknownTool as UnknownTool,
        ValetkeyError as ValetkeyError,
        VaultError as VaultError,
    )
    from valetkey.providers.inline import OAuthHandler as OAuthHandler
    from valetkey.providers.names import AuthProvider as AuthProvider
    from valetkey.secret import Secret as Secret
    from valetkey.tools.function import FunctionTool as FunctionTool
    from valetkey.tools.tool import Tool as Tool, ToolAuth as ToolAuth

_HOMES = {
    "connections.handler": ("AuthContext", "AuthHandlerInterface", "AuthenticateRequest", "AuthenticateResponse"),
    "connections.states": ("AuthState",),
    "entrypoints.pocket.auth": ("PocketAuth",),
    "entrypoints.pocket.config": ("OAuth2AuthConfig", "config"),
    "entrypoints.pocket.decorators": ("from_func", "function_tool", "tool"),
    "entrypoints.pocket.futures": ("FutureStore",),
    "entrypoints.pocket.pocket": ("Pocket",),
    "errors": (
        "AmbiguousConnection",
        "AuthExpired",
        "AuthRefused",
        "AuthRequired",
        "BlockedAddress",
        "CouldNotTell",
        "Denied",
        "DuplicateTool",
        "ExchangeFailed",
        "InvalidAnswer",
        "InvalidArguments",
        "InvalidAuthState",
        "InvalidSetting",
        "KeyUnavailable",
        "MissingSetting",
        "PortTaken",
        "ProviderUnavailable",
        "RefreshFailed",
        "StoreUnavailable",
        "ToolFailed",
        "ToolTimeout",
        "Unauthenticated",
        "UnknownProvider",
        "UnknownTool",
        "ValetkeyError",
        "VaultError",
    ),
    "providers.inline": ("OAuthHandler",),
    "providers.names": ("AuthProvider",),
    "secret": ("Secret",),
    "tools.function": ("FunctionTool",),
    "tools.tool": ("Tool", "ToolAuth"),
}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # one table says where each name lives


def __getattr__(name: str) -> Any:
    """Load a public name where it lives."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'valetkey' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  # not needed by who only asks for the version

    value = getattr(import_module(f"valetkey.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__doc__", "__name__"]
