"""add_bedrock_chat: a chat on somebody's FastAPI app."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from valetkey.entrypoints.chat.generator import ToolsGenerator
from valetkey.entrypoints.chat.links import link_routes
from valetkey.entrypoints.chat.model import Resilient
from valetkey.entrypoints.chat.offer import ChatOffer
from valetkey.entrypoints.chat.page import ui_routes
from valetkey.entrypoints.chat.registry import Sessions
from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.chat.routes import operator_routes
from valetkey.entrypoints.chat.seats import AWAY
from valetkey.entrypoints.chat.socket import ChatSocket
from valetkey.entrypoints.chat.told import apply_logging
from valetkey.entrypoints.chat.visitors import Reception
from valetkey.entrypoints.fastapi import Mounted, mount_valetkey
from valetkey.entrypoints.web.below import PagesRoute
from valetkey.errors import ConfigurationError, ValetkeyError
from valetkey.ports.agents import ChatModel
from valetkey.settings.bedrock import ChatConfig, load_config
from valetkey.wiring.models import open_model

if TYPE_CHECKING:
    from starlette.templating import Jinja2Templates

_STATE = "valetkey"
_FAILED = "Plugin initialization failed: {}"
_log = logging.getLogger("valetkey")


def add_bedrock_chat(
    app: FastAPI,
    model_id: str | None = None,
    aws_region: str | None = None,
    system_prompt: str | None = None,
    temperature: float | None = None,
    enable_ui: bool | None = None,  # noqa: FBT001 - seed 003's callers may give it by position
    chat_endpoint: str | None = None,
    websocket_endpoint: str | None = None,
    ui_endpoint: str | None = None,
    allowed_paths: list[str] | None = None,
    excluded_paths: list[str] | None = None,
    max_tool_calls: int | None = None,
    timeout: int | None = None,
    auth_dependency: Callable[..., Any] | None = None,
    openapi_spec_file: str | None = None,
    api_base_url: str | None = None,
    **kwargs: Any,
) -> BedrockChatPlugin:
    """Put a chat on an app: a WebSocket, a page, and the app's operations as tools of a language model.

    It may be called before or after the app's routes are added. Routes of ours are in no OpenAPI document; where the
    app did not call ``mount_valetkey``, our pages of sign-in and of connected accounts are served below
    ``chat_endpoint``. What is None is taken from the environment, from files, or is the default.

    Args:
        app: the app; its lifespan goes on as it is.
        model_id: the language model; ``offline`` needs none.
        aws_region: of Bedrock.
        system_prompt: what the model is told of its task.
        temperature: 0 to 1.
        enable_ui: whether there is a page.
        chat_endpoint: the path below which everything is.
        websocket_endpoint: of the WebSocket.
        ui_endpoint: of the page.
        allowed_paths: the operations that the model may call, by the beginnings of their paths; empty: all.
        excluded_paths: those that it may not.
        max_tool_calls: in one round.
        timeout: seconds for one call.
        auth_dependency: who may open a chat: a function as FastAPI's ``Depends`` takes it, run at the handshake.
        openapi_spec_file: the operations of this document instead of the app's own.
        api_base_url: where that API is.
        kwargs: any other field of ``ChatConfig``.

    Raises:
        ConfigurationError: a setting cannot be used, or there is none of that name; the text says which.
    """
    given = {
        "model_id": model_id,
        "aws_region": aws_region,
        "system_prompt": system_prompt,
        "temperature": temperature,
        "enable_ui": enable_ui,
        "chat_endpoint": chat_endpoint,
        "websocket_endpoint": websocket_endpoint,
        "ui_endpoint": ui_endpoint,
        "allowed_paths": allowed_paths,
        "excluded_paths": excluded_paths,
        "max_tool_calls": max_tool_calls,
        "timeout": timeout,
        "auth_dependency": auth_dependency,
        "openapi_spec_file": openapi_spec_file,
        "api_base_url": api_base_url,
        **kwargs,
    }
    try:
        config = load_config(**{name: value for name, value in given.items() if value is not None})
        return BedrockChatPlugin(app, config)
    except (ValetkeyError, OSError, ValueError) as error:
        raise ConfigurationError(_FAILED.format(error)) from error


def create_fastapi_with_bedrock_chat(**kwargs: Any) -> tuple[FastAPI, BedrockChatPlugin]:
    """An app of its own with a chat, which ends with the app.

    Args:
        kwargs: as ``add_bedrock_chat`` takes them.

    Raises:
        ConfigurationError: see ``add_bedrock_chat``.
    """
    app = FastAPI(title="Bedrock Chat")
    return app, add_bedrock_chat(app, **kwargs)


class BedrockChatPlugin:
    """A chat on an app.

    Attributes:
        app: the app.
        config: the chat's settings.
        chat: what the parts of the chat share.
        session_manager: the sessions that are open.
        bedrock_client: the language model.
        tools_generator: describes the tools.
        websocket_handler: answers at the WebSocket.
        app_base_url: where the operations are called: ``api_base_url``, else the app's public address.
        templates: None: the page needs none of the app's.
    """

    templates: Jinja2Templates | None = None

    def __init__(self, app: FastAPI, config: ChatConfig) -> None:
        """Put it there.

        Raises:
            ConfigurationError: something of the app is in its way, or a setting cannot be used.
        """
        _check_app(app)
        _check_ends(app, config)
        reception_of = config.auth_dependency
        model = self._model_of(config)  # before anything is changed in the app
        mounted = getattr(app.state, _STATE, None)
        is_ours = not isinstance(mounted, Mounted)
        self.app = app
        self.chat: Chat
        self.config = config
        self._ended = False
        self._state: Mapping[str, Any] = {}
        inner = app.router.lifespan_context
        self._run_with(app)
        pages: PagesRoute | None = None
        try:
            if not isinstance(mounted, Mounted):
                mounted = mount_valetkey(app, prefix=config.chat_endpoint, **config.mount_settings())
                app.router.routes.pop()
                pages = mounted.route()
            reception = Reception(mounted, reception_of, overrides=app, path=config.websocket_endpoint)
            offer = ChatOffer(app, config, mounted=mounted)
            self.chat = Chat(config=config, mounted=mounted, offer=offer, model=model, app=app)
        except BaseException:
            app.router.lifespan_context = inner
            if is_ours and isinstance(mounted, Mounted):
                delattr(app.state, _STATE)
                with suppress(RuntimeError):  # on the home loop itself, where closing would wait for itself
                    mounted.close()
            raise
        self.session_manager = Sessions(self.chat)
        self.tools_generator = ToolsGenerator(app, config, api=offer.api)
        self.websocket_handler = ChatSocket(self.chat, self.session_manager, reception, state=lambda: self._state)
        self.app_base_url = config.api_base_url or mounted.base_url.removesuffix(f"/{mounted.prefix}")
        # Ours go first, as their paths are exact, and the app may have one that takes them all; its own below
        # chat_endpoint go before our pages, whose paths nobody named.
        taken = {getattr(route, "path", None) for route in app.router.routes}
        ours = [
            WebSocketRoute(config.websocket_endpoint, self.websocket_handler.serve),
            *ui_routes(self.chat),
            *operator_routes(self.chat, self.session_manager, reception, self.tools_generator),
            *link_routes(self.chat, self.session_manager, reception),
        ]
        app.router.routes[:0] = [route for route in ours if getattr(route, "path", None) not in taken]
        if pages is not None:
            pages.place(app.router.routes, after=config.chat_endpoint)
        apply_logging(config)

    @property
    def bedrock_client(self) -> ChatModel:
        """The language model."""
        return self.chat.model

    def update_tools(self) -> None:
        """Look at the app's operations again. It happens by itself, too, before each answer."""
        self.chat.offer.tools()

    async def shutdown(self) -> None:
        """End all sessions, and let go of the model. Happens by itself at the end of the app, where it has one."""
        if self._ended:
            return
        self._ended = True
        seats = self.session_manager.close(AWAY)
        loop = asyncio.get_running_loop()
        leaving = [asyncio.ensure_future(seat.left.wait()) for seat in seats if seat.loop is loop]
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=10)
            for each in late:
                each.cancel()
        await self.session_manager.stop()
        await self.chat.model.close()

    def _run_with(self, app: FastAPI) -> None:
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(whose: Any) -> AsyncIterator[Any]:
            async with inner(whose) as state:
                if self._ended:
                    self._ended = False
                    self.chat.model = self._model_of(self.config)
                    self.session_manager.open()
                self._state = state if isinstance(state, Mapping) else {}
                try:
                    yield state
                finally:
                    self._state = {}
                    await self.shutdown()

        app.router.lifespan_context = lifespan

    def _model_of(self, config: ChatConfig) -> ChatModel:
        fallback = None if config.fallback_model is None else open_model(config.model_choice(fallback=True))
        return Resilient(
            open_model(config.model_choice()),
            fallback,
            retries=config.max_retries,
            delay=config.retry_delay,
            exponential=config.exponential_backoff,
            clock=_Lazily(lambda: self.chat.system.clock),
            entropy=_Lazily(lambda: self.chat.system.entropy),
        )


class _Lazily:
    """The clock or the randomness of the system that there is when it is asked."""

    def __init__(self, found: Callable[[], Any]) -> None:
        self._found = found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)


def _check_app(app: object) -> None:
    if not isinstance(app, FastAPI):
        given = "None" if app is None else f"of the type {type(app).__name__}"
        raise ConfigurationError(f"A chat is put on a FastAPI app, and this is {given}. Give the app itself.")


def _check_ends(app: FastAPI, config: ChatConfig) -> None:
    """That nobody else is where the chat is to be."""
    taken = {path: route for route in app.router.routes if isinstance(path := getattr(route, "path", None), str)}
    ends = {"websocket_endpoint": config.websocket_endpoint}
    if config.enable_ui:
        ends["ui_endpoint"] = config.ui_endpoint
    for name, path in ends.items():
        if path in taken:
            raise ConfigurationError(f"The app has a route at {path} already. Set {name} to another path.")
