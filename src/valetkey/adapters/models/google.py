"""Google's Gemini API."""

from __future__ import annotations

from google.genai import Client
from google.genai.types import HttpOptions, HttpRetryOptions
from pydantic_ai.models import create_async_httpx2_client
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider

from valetkey.adapters.models.backend import Backend
from valetkey.adapters.models.ids import ModelId
from valetkey.adapters.models.keys import key_of
from valetkey.ports.agents import ModelChoice


async def open_google(model: ModelId, choice: ModelChoice) -> Backend:
    """A client for the Gemini API, or for what speaks it at ``base_url``.

    Raises:
        ModelError: there is no key.
    """
    # Chosen here: left alone, the library takes aiohttp wherever that is installed.
    wire = create_async_httpx2_client(timeout=choice.timeout)
    client = Client(
        vertexai=False,
        api_key=key_of(model, choice),
        http_options=HttpOptions(
            base_url=choice.base_url,
            timeout=int(choice.timeout * 1000),
            retry_options=HttpRetryOptions(attempts=1),
            httpx_async_client=wire,
        ),
    )
    chat = GoogleModel(model.name, provider=GoogleProvider(client=client))
    return Backend(id=model, choice=choice, model=chat, closing=wire.aclose)
