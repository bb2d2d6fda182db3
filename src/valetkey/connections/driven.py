"""A seed 002 handler, driven as one of ours."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from valetkey.connections.handler import AuthContext, AuthenticateRequest, AuthHandlerInterface, Begun, Flow, Handler
from valetkey.errors import (
    InvalidAnswer,
    InvalidAuthState,
    InvalidSetting,
    ProviderUnavailable,
    RefreshFailed,
    ValetkeyError,
    VaultError,
)
from valetkey.model.connections import Connection, Credential, Grant
from valetkey.model.interactions import INVITATION
from valetkey.providers.base import Provider
from valetkey.secret import Secret


@dataclass(slots=True)
class FlowData:
    """What ``FutureStore.create_future`` is given while a handler prepares: it is kept in the flow's row."""

    state: str = field(repr=False)
    data: Any = field(default=None, repr=False)
    created: bool = False


PREPARING: ContextVar[FlowData | None] = ContextVar("valetkey_preparing", default=None)


class Driven(Handler):
    """Drives an :class:`AuthHandlerInterface` of the host program. Its coroutines run where the caller's loop is."""

    at_home = False

    def __init__(self, handler: AuthHandlerInterface, provider: Provider) -> None:
        self.handler = handler
        self.provider = provider
        self.name = declared(handler, "name") or type(handler).__name__
        self.scoped = declared(handler, "scoped") is True
        self.default = bool(handler.provider_default())

    @property
    def recommended_scopes(self) -> frozenset[str]:
        """What the handler recommends; none where it has no opinion."""
        try:
            return frozenset(self.handler.recommended_scopes())
        except NotImplementedError:
            return frozenset()

    def request(self, scopes: frozenset[str], **kwargs: Any) -> AuthenticateRequest:
        """The handler's request object for these scopes."""
        return self.handler.make_request(auth_scopes=sorted(scopes), **kwargs)

    async def begin(self, flow: Flow) -> Begun:
        """Let the handler prepare; what it puts into a future is kept with the flow."""
        return self._prepare(flow)

    async def reopen(self, flow: Flow, private: Mapping[str, str]) -> Begun | None:
        """Let the handler prepare once more under the same uid, for more scopes."""
        return self._prepare(flow)

    def _prepare(self, flow: Flow) -> Begun:
        data = FlowData(state=flow.state)
        token = PREPARING.set(data)
        try:
            with self._told("prepare"):
                url = self.handler.prepare(
                    flow.request or self.request(flow.scopes), flow.owner.subject, flow.profile, flow.state
                )
        finally:
            PREPARING.reset(token)
        if not isinstance(url, str) or not url:
            kind = type(url).__name__
            raise InvalidAuthState(f"The handler {self.name} has to give a link in prepare, and gave {kind}.")
        # Handlers written for seed 000's library may give the whole sentence.
        url = url.removeprefix(INVITATION.strip()).strip()
        return Begun(url=url, private={"future": data.data} if data.created else {})

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> NoReturn:
        """The handler's own router takes its callbacks, never our pages."""
        raise InvalidAnswer("This account is connected on a page of its own. Go back and follow the link again.")

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """Let the handler authenticate; the future of its uid holds the answer."""
        with self._told("authenticate"):
            context = await self.handler.authenticate(flow.request or self.request(flow.scopes), flow.state)
        return self._grant(context)

    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> Grant:
        """Let the handler refresh its own context."""
        kept = self._context(credential)
        with self._told("refresh"):
            context = await self.handler.refresh(self.request(scopes), kept)
        return self._grant(context)

    def can_refresh(self, credential: Credential) -> bool:
        """Whether the handler brings a refresh of its own."""
        return type(self.handler).refresh is not AuthHandlerInterface.refresh

    def variables(self, credential: Credential) -> Mapping[str, Secret]:
        """What the handler's context gives to tools."""
        given = self._context(credential).to_dict() or {self._variable: credential.access_token.reveal()}
        return {name: Secret(value) for name, value in given.items()}

    def variable_names(self) -> frozenset[str]:
        """The default name; a context with names of its own reaches tools through ``**kwargs``."""
        return frozenset({self._variable})

    def context(self, credential: Credential, connection: Connection) -> AuthContext:
        """The handler's own context, as it made it."""
        return self._context(credential)

    @contextmanager
    def _told(self, step: str) -> Iterator[None]:
        """An exception of the program's own code by its type and place: its text may hold a secret."""
        try:
            yield
        except (ValetkeyError, NotImplementedError):
            raise
        except Exception as error:  # noqa: BLE001  # it may be anything
            frames = traceback.extract_tb(error.__traceback__)
            place = f"{frames[-1].name}, line {frames[-1].lineno}"
            text = f"{step}() of the handler {self.name} raised {type(error).__name__} in {place}."
            status = getattr(getattr(error, "response", None), "status_code", None)
            kind = _REFUSALS.get((status, _said(error))) if step == "refresh" else None
            raise (kind or ProviderUnavailable)(text) from None

    @property
    def _variable(self) -> str:
        return f"{self.provider.name.upper()}_TOKEN"

    def _grant(self, context: object) -> Grant:
        if not isinstance(context, AuthContext):
            kind = type(context).__name__
            raise ProviderUnavailable(f"The handler {self.name} has to give an AuthContext, and gave {kind}.")
        expires = context.expires_at
        return Grant(
            credential=Credential(
                access_token=Secret(context.access_token),
                context_class=_name_of(type(context)),
                context=Secret(_dump(context)),
            ),
            expires_at=None if expires is None else expires.timestamp(),
        )

    def _context(self, credential: Credential) -> AuthContext:
        if credential.context is None or credential.context_class is None:
            raise VaultError(f"This connection was not made by {self.name}. Disconnect it, and connect it again.")
        try:
            return _load(credential.context_class, credential.context.reveal())
        except ValidationError:
            # Not as its cause: the text of it quotes what is kept.
            raise VaultError(
                f"What {self.name} kept of this account does not fit its context any more. Connect the account again."
            ) from None


# RFC 6749 §5.2: what a token endpoint says of the refresh token, and what of the client. A 400 that says nothing is of
# the token: some handlers keep the status only.
_REFUSALS: Mapping[tuple[object, str], type[ValetkeyError]] = {
    (400, ""): RefreshFailed,
    (400, "invalid_grant"): RefreshFailed,
    (401, "invalid_grant"): RefreshFailed,
    (400, "invalid_client"): InvalidSetting,
    (401, "invalid_client"): InvalidSetting,
    (400, "unauthorized_client"): InvalidSetting,
    (401, "unauthorized_client"): InvalidSetting,
}


def _said(error: BaseException) -> str:
    """The error code in the body of an HTTP client's exception; empty where there is none."""
    body = getattr(getattr(error, "response", None), "text", "")
    try:
        answer = json.loads(body) if isinstance(body, str) else None
    except ValueError:
        return ""
    return str(answer.get("error", "")) if isinstance(answer, dict) else ""


def declared(handler: AuthHandlerInterface, attribute: str) -> Any:
    """A class attribute's value, be it written down as seed 002 prints the interface: ``name: str = Field(…)``."""
    value = getattr(handler, attribute)
    if isinstance(value, FieldInfo):
        return None if value.is_required() else value.get_default(call_default_factory=True)
    return value


class _Kept(BaseModel):
    """A context at rest: its own fields, and the class of a detail that is a model itself."""

    fields: dict[str, Any]
    detail_class: str | None = None


def _name_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _dump(context: AuthContext) -> str:
    detail = context.detail
    kept = _Kept(
        fields=context.model_dump(mode="json"),
        detail_class=_name_of(type(detail)) if isinstance(detail, BaseModel) else None,
    )
    if isinstance(detail, BaseModel):
        # A field of type Any is dumped by its declared type otherwise.
        kept.fields["detail"] = detail.model_dump(mode="json")
    return kept.model_dump_json()


def _load(class_name: str, text: str) -> AuthContext:
    kept = _Kept.model_validate_json(text)
    cls = AuthContext.registry.get(class_name, AuthContext)
    detail_class = _find_model(kept.detail_class) if kept.detail_class else None
    if detail_class is not None:
        kept.fields["detail"] = detail_class.model_validate(kept.fields["detail"])
    return cls.model_validate(kept.fields)


def _find_model(name: str) -> type[BaseModel] | None:
    """A model class of a module that is loaded already; nothing is imported by a name from the database."""
    module, _, qualified = name.partition(":")
    found: object = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None
