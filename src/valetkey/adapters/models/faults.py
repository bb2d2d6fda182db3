"""What went wrong with a model, in words that say what to do and hold nothing of the service's own answer."""

from __future__ import annotations

import re

from pydantic_ai import exceptions as raised

from valetkey.adapters.models.ids import ModelId, Service
from valetkey.errors import ModelError
from valetkey.ports.agents import ModelFault

# The kinds of pydantic-ai's errors; the first that fits.
_KINDS: tuple[tuple[type[Exception], ModelFault], ...] = (
    (raised.ModelRateLimitError, ModelFault.BUSY),
    (raised.ModelQuotaExceededError, ModelFault.REFUSED),
    (raised.ModelUnavailableError, ModelFault.UNAVAILABLE),
    (raised.ModelServerError, ModelFault.UNAVAILABLE),
    (raised.ModelTimeoutError, ModelFault.TIMEOUT),
    (raised.ModelRequestTimeout, ModelFault.TIMEOUT),
    (raised.ModelConnectionError, ModelFault.UNAVAILABLE),
    (raised.ModelContextWindowExceededError, ModelFault.TOO_LONG),
    (raised.ModelAuthenticationError, ModelFault.REFUSED),
    (raised.ModelNotFoundError, ModelFault.REFUSED),
    (raised.ModelRequestRejectedError, ModelFault.INVALID),
    (TimeoutError, ModelFault.TIMEOUT),
    (OSError, ModelFault.UNAVAILABLE),
)
_STATUSES = {408: ModelFault.TIMEOUT, 413: ModelFault.TOO_LONG, 424: ModelFault.UNAVAILABLE, 504: ModelFault.TIMEOUT}

# botocore's own errors, by name: it may not be installed.
_NO_CREDENTIALS = re.compile(
    r"NoCredentialsError|PartialCredentialsError|CredentialRetrievalError|ProfileNotFound|TokenRetrievalError"
    r"|NoAuthTokenError|.*SSOTokenLoadError|UnauthorizedSSOTokenError|RefreshWithMFAUnsupportedError|Login.*Error"
)
_BAD_REQUEST = re.compile(r"ParamValidationError|InvalidRegionError|NoRegionError|UnknownEndpointError")

_CODE = re.compile(r"[A-Za-z_]{1,60}")
_TOO_LONG = re.compile(
    r"too long|too many (?:input )?tokens|context (?:window|length|limit)|maximum context|tokens? exceeds?"
    r"|exceeds? (?:the )?(?:maximum|max_tokens|context|limit of \d+ tokens)|reduce the length",
    re.IGNORECASE,
)

_KEYS = {
    Service.BEDROCK: (
        "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) or AWS_PROFILE, that the model is "
        "enabled for the account in AWS_REGION, and that the policy allows bedrock:InvokeModel"
    ),
    Service.ANTHROPIC: "Check ANTHROPIC_API_KEY or model_api_key",
    Service.OPENAI: "Check OPENAI_API_KEY or model_api_key, and model_base_url",
    Service.GOOGLE: "Check GOOGLE_API_KEY or model_api_key",
}


def fault_of(error: BaseException) -> ModelFault:
    """Which kind of failure an exception of pydantic-ai, or of a library under it, tells."""
    if isinstance(error, raised.ModelHTTPError) and error.status_code in _STATUSES:
        return _STATUSES[error.status_code]
    for kind, fault in _KINDS:
        if isinstance(error, kind):
            # An overflow is worded differently by each family of models.
            return ModelFault.TOO_LONG if fault is ModelFault.INVALID and _TOO_LONG.search(str(error)) else fault
    names = {each.__name__ for each in type(error).__mro__}
    if any(_NO_CREDENTIALS.fullmatch(name) for name in names):
        return ModelFault.REFUSED
    if any(_BAD_REQUEST.fullmatch(name) for name in names):
        return ModelFault.INVALID
    if isinstance(error, raised.ModelAPIError) or "BotoCoreError" in names:
        return ModelFault.UNAVAILABLE
    return ModelFault.INVALID


def model_error(error: BaseException, model: ModelId) -> ModelError:
    """The error for our side. Nothing of the exception's own text is in it."""
    if isinstance(error, ModelError):
        return error
    fault = fault_of(error)
    found = not isinstance(error, raised.ModelNotFoundError)
    return ModelError(_text(fault, model) if found else _unknown(model), fault=fault)


def told(error: BaseException) -> str:
    """An exception for the log: its type, and the service's code for it, but none of its words."""
    code = getattr(error, "provider_error_code", None)
    fit = isinstance(code, str) and _CODE.fullmatch(code)
    return f"{type(error).__name__}, {code}" if fit else type(error).__name__


def no_key(model: ModelId) -> ModelError:
    """There is nothing to sign in with at the service."""
    return ModelError(
        f"There are no credentials for {model.service.title}. {_KEYS[model.service]}. "
        "Set model_id to 'offline' to go on without a language model.",
        fault=ModelFault.REFUSED,
    )


def _unknown(model: ModelId) -> str:
    region = " in this AWS_REGION; newer models want an inference profile such as 'us.…'" if _is_bedrock(model) else ""
    service = model.service.title[0].upper() + model.service.title[1:]
    return f"{service} does not know the model {model.shown}{region}. Check model_id."


def _text(fault: ModelFault, model: ModelId) -> str:
    name, service = model.shown, model.service.title[0].upper() + model.service.title[1:]
    match fault:
        case ModelFault.BUSY:
            return f"{service} wants the model {name} to be asked less often. Wait, or set fallback_model."
        case ModelFault.UNAVAILABLE:
            where = "" if model.service in {Service.ANTHROPIC, Service.GOOGLE} else f" and {_ADDRESS[model.service]}"
            return f"The model {name} does not answer now. Try again; check the network{where} if it goes on."
        case ModelFault.TIMEOUT:
            return f"The model {name} did not answer in time. Try again, ask for less, or raise timeout."
        case ModelFault.TOO_LONG:
            return (
                f"The conversation is longer than the model {name} takes. Clear it, or lower max_conversation_messages."
            )
        case ModelFault.REFUSED:
            return f"{service} does not let us use the model {name}. {_KEYS[model.service]}."
        case ModelFault.INVALID:
            return (
                f"The model {name} did not take the request, or its answer cannot be read. "
                "Check that it takes tools, and the settings that are sent to it (max_tokens, temperature, top_p)."
            )


_ADDRESS = {Service.BEDROCK: "AWS_REGION", Service.OPENAI: "model_base_url"}


def _is_bedrock(model: ModelId) -> bool:
    return model.service is Service.BEDROCK
