"""A model's id in settings: who serves it, and which libraries that takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec

from valetkey.errors import ConfigurationError

OFFLINE = "offline"


class Service(Enum):
    """Who serves a model: the libraries that are imported for it, the extras that bring them, and its name."""

    BEDROCK = (("pydantic_ai", "boto3"), "chat", "Amazon Bedrock")
    ANTHROPIC = (("pydantic_ai", "anthropic"), "chat,anthropic", "Anthropic")
    OPENAI = (("pydantic_ai", "openai"), "chat,openai", "the OpenAI-compatible server")
    GOOGLE = (("pydantic_ai", "google.genai"), "chat,gemini", "Google")

    @property
    def libraries(self) -> tuple[str, ...]:
        """What has to be installed."""
        return self.value[0]

    @property
    def extras(self) -> str:
        """Which extras of ours install it."""
        return self.value[1]

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.value[2]


_PREFIXES = {
    "bedrock": Service.BEDROCK,
    "anthropic": Service.ANTHROPIC,
    "openai": Service.OPENAI,
    "google": Service.GOOGLE,
    "google-gla": Service.GOOGLE,
}


@dataclass(frozen=True, slots=True)
class ModelId:
    """A model, and who serves it.

    Attributes:
        name: as that service knows it.
    """

    service: Service
    name: str

    @property
    def shown(self) -> str:
        """The name for messages: of an ARN, which has an account's number in it, only the end."""
        return self.name.rpartition("/")[2] if self.name.startswith("arn:") else self.name


def read_id(model_id: str) -> ModelId:
    """Take an id apart: ``anthropic:…``, ``openai:…``, ``google:…``, ``bedrock:…``, or a Bedrock id without a prefix.

    Bedrock's own ids hold colons too (``…-v1:0``, ARNs); what stands before such a one has a dot, or is ``arn``.

    Raises:
        ConfigurationError: it is empty, or has a prefix that nobody knows.
    """
    prefix, colon, rest = model_id.strip().partition(":")
    service = _PREFIXES.get(prefix.lower()) if colon else None
    if service is not None and rest.strip():
        return ModelId(service, rest.strip())
    if service is not None or not prefix:
        raise ConfigurationError(f"model_id {model_id!r} names no model. Expected for example {_EXAMPLES}.")
    if colon and prefix != "arn" and "." not in prefix:
        raise ConfigurationError(
            f"model_id {model_id!r} has a prefix that is not known: {prefix!r}. Expected for example {_EXAMPLES}."
        )
    return ModelId(Service.BEDROCK, model_id.strip())


def require(model: ModelId) -> None:
    """Make sure that what a model needs is installed; nothing is imported.

    Raises:
        ConfigurationError: something is not; it says what to install.
    """
    missing = [library for library in model.service.libraries if not _is_there(library)]
    if missing:
        raise ConfigurationError(
            f"The model {model.shown} needs {' and '.join(missing)}, which is not installed. "
            f"Run `pip install 'valetkey[{model.service.extras}]'`, or set model_id to {OFFLINE!r}."
        )


def _is_there(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # the package around it is not there either
        return False


_EXAMPLES = (
    "'us.anthropic.claude-sonnet-4-5-20250929-v1:0' (Amazon Bedrock), 'anthropic:claude-opus-4-6', "
    f"'openai:gpt-4o', 'google:gemini-2.5-flash' or {OFFLINE!r}"
)
