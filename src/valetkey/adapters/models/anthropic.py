"""Anthropic's Messages API."""

from __future__ import annotations

from anthropic import AsyncAnthropic
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.profiles.anthropic import AnthropicModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider

from valetkey.adapters.models.backend import Backend
from valetkey.adapters.models.ids import ModelId
from valetkey.adapters.models.keys import key_of
from valetkey.ports.agents import ModelChoice


async def open_anthropic(model: ModelId, choice: ModelChoice) -> Backend:
    """A client for Anthropic's API, or for what speaks it at ``base_url``.

    Raises:
        ModelError: there is no key.
    """
    client = AsyncAnthropic(
        api_key=key_of(model, choice), base_url=choice.base_url, max_retries=0, timeout=choice.timeout
    )
    chat = AnthropicModel(
        model.name,
        provider=AnthropicProvider(anthropic_client=client),
        profile=AnthropicModelProfile(json_schema_transformer=None),
    )
    return Backend(id=model, choice=choice, model=chat, closing=client.close)
