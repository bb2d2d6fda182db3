"""The chat completions of OpenAI, and of every server that speaks them."""

from __future__ import annotations

from urllib.parse import urlsplit

from openai import AsyncOpenAI
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

from valetkey.adapters.models.backend import Backend
from valetkey.adapters.models.ids import ModelId
from valetkey.adapters.models.keys import key_of, openai_address
from valetkey.ports.agents import ModelChoice

_HOST = "api.openai.com"


async def open_openai(model: ModelId, choice: ModelChoice) -> Backend:
    """A client for OpenAI, or for the server at ``base_url``.

    Raises:
        ModelError: there is no key, and OpenAI itself is asked.
    """
    client = AsyncOpenAI(api_key=key_of(model, choice), base_url=choice.base_url, max_retries=0, timeout=choice.timeout)
    address = openai_address(choice)
    # Other servers know the older name of max_tokens, and few of them know `strict`.
    original = not address or urlsplit(address).hostname == _HOST
    chat = OpenAIChatModel(
        model.name,
        provider=OpenAIProvider(openai_client=client),
        profile=OpenAIModelProfile(
            json_schema_transformer=None,
            openai_chat_supports_max_completion_tokens=original,
            openai_supports_strict_tool_definition=original,
        ),
    )
    return Backend(id=model, choice=choice, model=chat, closing=client.close)
