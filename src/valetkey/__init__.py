"""Valetkey signs in agents and their users, lends tools the credentials they need, and shows the model no secret.

The public names can be imported from here; each is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valetkey.connections.handler import (
        AuthContext as AuthContext,
    )
    from valetkey.connections.handler import (
        AuthenticateRequest as AuthenticateRequest,
    )
    from valetkey.connections.handler import (
        AuthenticateResponse as AuthenticateResponse,
    )
    from valetkey.connections.handler import (
        AuthHandlerInterface as AuthHandlerInterface,
    )
    from valetkey.connections.states import AuthState as AuthState
    from valetkey.entrypoints.chat.credentials import (
        AuthenticationHandler as AuthenticationHandler,
    )
    from valetkey.entrypoints.chat.credentials import (
        AuthType as AuthType,
    )
    from valetkey.entrypoints.chat.credentials import (
        Credentials as Credentials,
    )
    from valetkey.entrypoints.chat.generator import (
        ToolsGenerator as ToolsGenerator,
    )
    from valetkey.entrypoints.chat.generator import (
        create_tools_generator_from_spec as create_tools_generator_from_spec,
    )
    from valetkey.entrypoints.chat.plugin import (
        BedrockChatPlugin as BedrockChatPlugin,
    )
    from valetkey.entrypoints.chat.plugin import (
        add_bedrock_chat as add_bedrock_chat,
    )
    from valetkey.entrypoints.chat.plugin import (
        create_fastapi_with_bedrock_chat as create_fastapi_with_bedrock_chat,
    )
    from valetkey.entrypoints.fastapi import (
        current_user as current_user,
    )
    from valetkey.entrypoints.fastapi import (
        mount_valetkey as mount_valetkey,
    )
    from valetkey.entrypoints.fastapi import (
        optional_user as optional_user,
    )
    from valetkey.entrypoints.fastapi import (
        require as require,
    )
    from valetkey.entrypoints.fastapi import (
        require_scope as require_scope,
    )
    from valetkey.entrypoints.pocket.auth import (
        InMemorySessionStorage as InMemorySessionStorage,
    )
    from valetkey.entrypoints.pocket.auth import (
        PocketAuth as PocketAuth,
    )
    from valetkey.entrypoints.pocket.config import (
        OAuth2AuthConfig as OAuth2AuthConfig,
    )
    from valetkey.entrypoints.pocket.config import (
        config as config,
    )
    from valetkey.entrypoints.pocket.decorators import (
        from_func as from_func,
    )
    from valetkey.entrypoints.pocket.decorators import (
        function_tool as function_tool,
    )
    from valetkey.entrypoints.pocket.decorators import (
        tool as tool,
    )
    from valetkey.entrypoints.pocket.folders import (
        from_git as from_git,
    )
    from valetkey.entrypoints.pocket.folders import (
        from_local as from_local,
    )
    from valetkey.entrypoints.pocket.futures import FutureStore as FutureStore
    from valetkey.entrypoints.pocket.pocket import Pocket as Pocket
    from valetkey.entrypoints.web.interaction import (
        confirm_link as confirm_link,
    )
    from valetkey.errors import (
        AmbiguousConnection as AmbiguousConnection,
    )
    from valetkey.errors import (
        ApprovalRequired as ApprovalRequired,
    )
    from valetkey.errors import (
        AuthenticationError as AuthenticationError,
    )
    from valetkey.errors import (
        AuthExpired as AuthExpired,
    )
    from valetkey.errors import (
        AuthRefused as AuthRefused,
    )
    from valetkey.errors import (
        AuthRequired as AuthRequired,
    )
    from valetkey.errors import (
        BedrockChatError as BedrockChatError,
    )
    from valetkey.errors import (
        BlockedAddress as BlockedAddress,
    )
    from valetkey.errors import (
        ConfigurationError as ConfigurationError,
    )
    from valetkey.errors import (
        CouldNotTell as CouldNotTell,
    )
    from valetkey.errors import (
        Denied as Denied,
    )
    from valetkey.errors import (
        DuplicateTool as DuplicateTool,
    )
    from valetkey.errors import (
        ExchangeFailed as ExchangeFailed,
    )
    from valetkey.errors import (
        InvalidAnswer as InvalidAnswer,
    )
    from valetkey.errors import (
        InvalidArguments as InvalidArguments,
    )
    from valetkey.errors import (
        InvalidAuthState as InvalidAuthState,
    )
    from valetkey.errors import (
        InvalidSetting as InvalidSetting,
    )
    from valetkey.errors import (
        KeyUnavailable as KeyUnavailable,
    )
    from valetkey.errors import (
        MissingSetting as MissingSetting,
    )
    from valetkey.errors import (
        ModelError as ModelError,
    )
    from valetkey.errors import (
        NotFound as NotFound,
    )
    from valetkey.errors import (
        PortTaken as PortTaken,
    )
    from valetkey.errors import (
        ProviderUnavailable as ProviderUnavailable,
    )
    from valetkey.errors import (
        RateLimited as RateLimited,
    )
    from valetkey.errors import (
        RateLimitError as RateLimitError,
    )
    from valetkey.errors import (
        RefreshFailed as RefreshFailed,
    )
    from valetkey.errors import (
        SessionError as SessionError,
    )
    from valetkey.errors import (
        StartupFailed as StartupFailed,
    )
    from valetkey.errors import (
        StoreUnavailable as StoreUnavailable,
    )
    from valetkey.errors import (
        ToolError as ToolError,
    )
    from valetkey.errors import (
        ToolFailed as ToolFailed,
    )
    from valetkey.errors import (
        ToolsGenerationError as ToolsGenerationError,
    )
    from valetkey.errors import (
        ToolTimeout as ToolTimeout,
    )
    from valetkey.errors import (
        Unauthenticated as Unauthenticated,
    )
    from valetkey.errors import (
        UnknownProvider as UnknownProvider,
    )
    from valetkey.errors import (
        UnknownTool as UnknownTool,
    )
    from valetkey.errors import (
        ValetkeyError as ValetkeyError,
    )
    from valetkey.errors import (
        VaultError as VaultError,
    )
    from valetkey.identity.running import (
        _parse_token as _parse_token,
    )
    from valetkey.identity.running import (
        parse_token as parse_token,
    )
    from valetkey.model.users import (
        ScopeInfo as ScopeInfo,
    )
    from valetkey.model.users import (
        TokenConfig as TokenConfig,
    )
    from valetkey.model.users import (
        UserInfo as UserInfo,
    )
    from valetkey.model.users import (
        UserPermission as UserPermission,
    )
    from valetkey.model.users import (
        UserTokenInfo as UserTokenInfo,
    )
    from valetkey.model.users import (
        create_scope as create_scope,
    )
    from valetkey.model.users import (
        generate_jwt_scope as generate_jwt_scope,
    )
    from valetkey.model.users import (
        parse_scope as parse_scope,
    )
    from valetkey.model.workspaces import (
        WorkspaceInfo as WorkspaceInfo,
    )
    from valetkey.providers.inline import OAuthHandler as OAuthHandler
    from valetkey.providers.names import AuthProvider as AuthProvider
    from valetkey.secret import Secret as Secret
    from valetkey.settings.bedrock import (
        DEFAULT_SUPPORTED_AUTH_TYPES as DEFAULT_SUPPORTED_AUTH_TYPES,
    )
    from valetkey.settings.bedrock import (
        ChatConfig as ChatConfig,
    )
    from valetkey.settings.bedrock import (
        load_config as load_config,
    )
    from valetkey.settings.bedrock import (
        validate_config as validate_config,
    )
    from valetkey.tools.function import FunctionTool as FunctionTool
    from valetkey.tools.tool import Tool as Tool
    from valetkey.tools.tool import ToolAuth as ToolAuth

_HOMES = {
    "connections.handler": ("AuthContext", "AuthHandlerInterface", "AuthenticateRequest", "AuthenticateResponse"),
    "connections.states": ("AuthState",),
    "entrypoints.chat.credentials": ("AuthType", "AuthenticationHandler", "Credentials"),
    "entrypoints.chat.generator": ("ToolsGenerator", "create_tools_generator_from_spec"),
    "entrypoints.chat.plugin": ("BedrockChatPlugin", "add_bedrock_chat", "create_fastapi_with_bedrock_chat"),
    "entrypoints.fastapi": (
        "current_user",
        "mount_valetkey",
        "optional_user",
        "require",
        "require_scope",
    ),
    "entrypoints.pocket.auth": ("InMemorySessionStorage", "PocketAuth"),
    "entrypoints.pocket.config": ("OAuth2AuthConfig", "config"),
    "entrypoints.pocket.decorators": ("from_func", "function_tool", "tool"),
    "entrypoints.pocket.folders": ("from_git", "from_local"),
    "entrypoints.pocket.futures": ("FutureStore",),
    "entrypoints.pocket.pocket": ("Pocket",),
    "entrypoints.web.interaction": ("confirm_link",),
    "errors": (
        "AmbiguousConnection",
        "ApprovalRequired",
        "AuthExpired",
        "AuthRefused",
        "AuthRequired",
        "AuthenticationError",
        "BedrockChatError",
        "BlockedAddress",
        "ConfigurationError",
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
        "ModelError",
        "NotFound",
        "PortTaken",
        "ProviderUnavailable",
        "RateLimitError",
        "RateLimited",
        "RefreshFailed",
        "SessionError",
        "StartupFailed",
        "StoreUnavailable",
        "ToolError",
        "ToolFailed",
        "ToolTimeout",
        "ToolsGenerationError",
        "Unauthenticated",
        "UnknownProvider",
        "UnknownTool",
        "ValetkeyError",
        "VaultError",
    ),
    "identity.running": ("_parse_token", "parse_token"),
    "model.users": (
        "ScopeInfo",
        "TokenConfig",
        "UserInfo",
        "UserPermission",
        "UserTokenInfo",
        "create_scope",
        "generate_jwt_scope",
        "parse_scope",
    ),
    "model.workspaces": ("WorkspaceInfo",),
    "providers.inline": ("OAuthHandler",),
    "providers.names": ("AuthProvider",),
    "secret": ("Secret",),
    "settings.bedrock": ("ChatConfig", "DEFAULT_SUPPORTED_AUTH_TYPES", "load_config", "validate_config"),
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
