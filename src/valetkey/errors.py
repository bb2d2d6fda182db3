"""Every error we raise, as one tree: a stable code, a public text, the caller's next step.

ValetkeyError
├── UnknownTool (KeyError)                  the program named a tool that its Pocket does not hold
├── DuplicateTool (RuntimeError)            two tools of one Pocket have the same name
├── InvalidArguments (ValueError)           arguments that do not fit the tool's schema
├── UnknownProvider (ValueError)            no provider, or no auth handler, of that name
├── MissingSetting                          a setting that this needs is not there
├── InvalidSetting (ValueError)             a setting is there and cannot be used
├── AuthRequired                            a person must connect an account first; has .url
├── AmbiguousConnection                     several accounts fit and none was named
├── AuthRefused                             the person said no
├── AuthExpired (asyncio.TimeoutError)      nobody answered in time
├── InvalidAuthState (RuntimeError)         this step does not follow from the state the flow is in
├── InvalidAnswer (ValueError)              a callback or form that does not answer its question
├── RefreshFailed (RuntimeError)            the credential cannot be renewed: sign in again
├── ProviderUnavailable                     the provider did not answer usefully; try again later
│   └── ExchangeFailed                      one HTTP exchange did not complete; has .sent
├── RateLimited                             too often: wait; has .retry_after
├── BlockedAddress                          the address may not be called
├── Unauthenticated                         no credential, or a bad one
├── CouldNotTell                            who is calling could not be decided now
├── Denied (PermissionError)                known, and not allowed
├── ApprovalRequired                        a person must say yes to this call first; has .url
├── NotFound (LookupError)                  nothing of that name or id, or none that the caller may see
├── ToolFailed (RuntimeError)               the tool's own code raised
│   └── ToolTimeout (TimeoutError)          the tool ran past its deadline
├── BedrockChatError                        a chat cannot go on
│   ├── ConfigurationError (ValueError)     one of its settings cannot be used
│   ├── ModelError                          the language model did not answer; has .fault
│   ├── SessionError (LookupError)          there is no such session, or it has ended
│   ├── ToolError                           one of its tools cannot be used
│   │   └── ToolsGenerationError            no tools can be made of an OpenAPI document
│   ├── AuthenticationError                 the credentials of a session are not good
│   └── RateLimitError                      too many messages in a period
├── StartupFailed (RuntimeError)            a startup function raised: the server does not start
├── PortTaken (OSError)                     a port that we should listen on is in use
├── StoreUnavailable                        the database cannot be used now
└── VaultError                              a secret cannot be sealed or opened
    └── KeyUnavailable                      the key that sealed it is not here
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class ValetkeyError(Exception):
    """Base of every error that Valetkey raises.

    The text is public: it says what was wrong, what was expected and what to do next, and holds no secret and no
    internals. ``code`` is stable and may be matched by programs.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        # KeyError would print the repr of its argument.
        return self.message


class UnknownTool(ValetkeyError, KeyError):
    """The program named a tool that its Pocket does not hold."""

    code = "unknown_tool"


class DuplicateTool(ValetkeyError, RuntimeError):
    """Two tools of one Pocket have the same name."""

    code = "duplicate_tool"


class InvalidArguments(ValetkeyError, ValueError):
    """Arguments that do not fit the tool's schema."""

    code = "invalid_arguments"


class UnknownProvider(ValetkeyError, ValueError):
    """No provider, or no auth handler, of that name."""

    code = "unknown_provider"


class MissingSetting(ValetkeyError):
    """A setting that this needs is not there."""

    code = "missing_setting"


class InvalidSetting(ValetkeyError, ValueError):
    """A setting is there and cannot be used."""

    code = "invalid_setting"


class AuthRequired(ValetkeyError):
    """A person must connect an account before the tool can run.

    Attributes:
        url: the link to open.
        provider: the provider whose account is needed.
        interaction: the id of the question that waits; empty where it is not known.
        user_code, verification_uri: with the device grant, the code to enter and where; else empty.
    """

    code = "auth_required"

    def __init__(
        self, message: str, *, url: str, provider: str, interaction: str = "", code: tuple[str, str] = ("", "")
    ) -> None:
        super().__init__(message)
        self.url = url
        self.provider = provider
        self.interaction = interaction
        self.user_code, self.verification_uri = code


class AmbiguousConnection(ValetkeyError):
    """Several accounts fit and none was named.

    Attributes:
        provider: the provider whose accounts they are.
        profiles: under which names they are kept; naming one of them decides.
    """

    code = "ambiguous_connection"

    def __init__(self, message: str, *, provider: str = "", profiles: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.provider = provider
        self.profiles = profiles


class AuthRefused(ValetkeyError):
    """The person said no."""

    code = "auth_refused"


class AuthExpired(ValetkeyError, TimeoutError):
    """Nobody answered in time. ``TimeoutError`` is also ``asyncio.TimeoutError`` (Python 3.11)."""

    code = "auth_expired"


class InvalidAuthState(ValetkeyError, RuntimeError):
    """This step does not follow from the state that the flow is in."""

    code = "invalid_auth_state"


class InvalidAnswer(ValetkeyError, ValueError):
    """A callback or a form that does not answer the question that was asked."""

    code = "invalid_answer"


class RefreshFailed(ValetkeyError, RuntimeError):
    """The credential cannot be renewed: the person has to sign in again."""

    code = "refresh_failed"


class ProviderUnavailable(ValetkeyError):
    """The provider did not answer usefully; nothing is lost, try again later.

    Attributes:
        retry_after: seconds that it asked us to wait, at most an hour; None where it did not say.
    """

    code = "provider_unavailable"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ExchangeFailed(ProviderUnavailable):
    """One HTTP exchange did not complete.

    Attributes:
        sent: whether the request may have reached the other side.
        late: whether it is that time ran out.
    """

    code = "exchange_failed"

    def __init__(self, message: str, *, sent: bool, late: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.late = late


class RateLimited(ValetkeyError):
    """Too many of these in a period; again after ``retry_after`` whole seconds, at least 1 (RFC 9110 §10.2.3)."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BlockedAddress(ValetkeyError):
    """The address may not be called from here."""

    code = "blocked_address"


class Unauthenticated(ValetkeyError):
    """No credential, or one that is not good."""

    code = "unauthenticated"


class CouldNotTell(ValetkeyError):
    """Who is calling could not be decided now; the credential may be good."""

    code = "could_not_tell"


class Denied(ValetkeyError, PermissionError):
    """The caller is known and is not allowed to do this."""

    code = "denied"


class ApprovalRequired(ValetkeyError):
    """A person must say yes to this one call, with exactly these arguments, before it may run.

    Attributes:
        url: the page on which they do.
        interaction: the id of the question that waits; empty where it is not known.
    """

    code = "approval_required"

    def __init__(self, message: str, *, url: str, interaction: str = "") -> None:
        super().__init__(message)
        self.url = url
        self.interaction = interaction


class NotFound(ValetkeyError, LookupError):
    """Nothing of that name or id; the same for one that the caller may not see."""

    code = "not_found"


class ToolFailed(ValetkeyError, RuntimeError):
    """The tool's own code raised; the text is scrubbed of what was lent."""

    code = "tool_failed"


class ToolTimeout(ToolFailed, TimeoutError):
    """The tool ran past its deadline."""

    code = "tool_timeout"


class BedrockChatError(ValetkeyError):
    """The chat cannot go on; what seed 003's programs catch."""

    code = "chat_failed"


class ConfigurationError(BedrockChatError, ValueError):
    """A setting of the chat cannot be used, or there is none of that name."""

    code = "chat_configuration"


class ModelError(BedrockChatError):
    """The language model did not answer; ``fault`` is why, as ``ports.agents.ModelFault`` has it."""

    code = "model_failed"

    def __init__(self, message: str, *, fault: str = "unavailable") -> None:
        super().__init__(message)
        self.fault = fault


class SessionError(BedrockChatError, LookupError):
    """There is no such chat session, or it has ended."""

    code = "session_ended"


class ToolError(BedrockChatError):
    """A tool of the chat cannot be used."""

    code = "chat_tool"


class ToolsGenerationError(ToolError):
    """An OpenAPI document cannot be read, or no tools can be made of it."""

    code = "tools_generation"


class AuthenticationError(BedrockChatError):
    """The credentials given to a chat session are not good."""

    code = "chat_credentials"


class RateLimitError(BedrockChatError):
    """Too many messages in a period."""

    code = "chat_rate"


class StartupFailed(ValetkeyError, RuntimeError):
    """A startup function raised, or cannot be found: the server does not start."""

    code = "startup_failed"


class PortTaken(ValetkeyError, OSError):
    """A port that we should listen on is in use."""

    code = "port_taken"


class StoreUnavailable(ValetkeyError):
    """The database cannot be used now."""

    code = "store_unavailable"


class VaultError(ValetkeyError):
    """A secret cannot be sealed or opened."""

    code = "vault_error"


class KeyUnavailable(VaultError):
    """The key that sealed a secret is not here."""

    code = "key_unavailable"


@dataclass(frozen=True, slots=True)
class Rendering:
    """How one error looks on each surface: HTTP status, WebSocket close code, process exit status."""

    http: int
    close: int
    exit: int


# One row for each class; `tests/kernel/test_errors.py` proves it total, and the docs print it.
RENDERINGS: dict[type[ValetkeyError], Rendering] = {
    ValetkeyError: Rendering(500, 1011, 1),
    UnknownTool: Rendering(404, 4404, 2),
    DuplicateTool: Rendering(409, 4409, 2),
    InvalidArguments: Rendering(400, 4400, 2),
    UnknownProvider: Rendering(400, 4400, 2),
    MissingSetting: Rendering(503, 1011, 2),
    InvalidSetting: Rendering(503, 1011, 2),
    AuthRequired: Rendering(403, 4403, 3),
    AmbiguousConnection: Rendering(409, 4409, 2),
    AuthRefused: Rendering(403, 4403, 4),
    AuthExpired: Rendering(410, 4410, 4),
    InvalidAuthState: Rendering(409, 4409, 1),
    InvalidAnswer: Rendering(400, 4400, 2),
    RefreshFailed: Rendering(403, 4403, 3),
    ProviderUnavailable: Rendering(503, 1013, 5),
    ExchangeFailed: Rendering(503, 1013, 5),
    RateLimited: Rendering(429, 1013, 5),
    BlockedAddress: Rendering(403, 4403, 2),
    Unauthenticated: Rendering(401, 4401, 3),
    CouldNotTell: Rendering(503, 1013, 5),
    Denied: Rendering(403, 4403, 4),
    ApprovalRequired: Rendering(403, 4403, 3),
    NotFound: Rendering(404, 4404, 2),
    ToolFailed: Rendering(502, 1011, 1),
    ToolTimeout: Rendering(504, 1011, 1),
    BedrockChatError: Rendering(500, 1011, 1),
    ConfigurationError: Rendering(503, 1011, 2),
    ModelError: Rendering(503, 1011, 5),
    SessionError: Rendering(404, 4404, 2),
    ToolError: Rendering(502, 1011, 1),
    ToolsGenerationError: Rendering(503, 1011, 2),
    AuthenticationError: Rendering(401, 4401, 3),
    RateLimitError: Rendering(429, 1013, 5),
    StartupFailed: Rendering(503, 1011, 1),
    PortTaken: Rendering(503, 1011, 2),
    StoreUnavailable: Rendering(503, 1013, 5),
    VaultError: Rendering(503, 1011, 5),
    KeyUnavailable: Rendering(503, 1011, 5),
}
