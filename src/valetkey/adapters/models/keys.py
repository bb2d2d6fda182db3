"""The key that a service is asked with."""

from __future__ import annotations

import os

from valetkey.adapters.models.faults import no_key
from valetkey.adapters.models.ids import ModelId, Service
from valetkey.ports.agents import ModelChoice

_VARIABLES = {
    Service.ANTHROPIC: ("ANTHROPIC_API_KEY",),
    Service.OPENAI: ("OPENAI_API_KEY",),
    Service.GOOGLE: ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
}
_ANY = "none"


def key_of(model: ModelId, choice: ModelChoice) -> str:
    """The setting's key, else the environment's.

    Raises:
        ModelError: there is none.
    """
    if choice.api_key:
        return choice.api_key.reveal()
    found = next(filter(None, map(os.getenv, _VARIABLES[model.service])), None)
    if found is None and model.service is Service.OPENAI and openai_address(choice):
        return _ANY  # servers of one's own often ask for none
    if found is None:
        raise no_key(model)
    return found


def openai_address(choice: ModelChoice) -> str:
    """Where the OpenAI-compatible server is; empty: OpenAI's own."""
    return choice.base_url or os.getenv("OPENAI_BASE_URL") or ""
