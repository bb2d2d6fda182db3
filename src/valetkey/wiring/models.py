"""Choose the language model by its id: the offline stand-in, or one behind a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from valetkey.adapters.models.ids import OFFLINE, ModelId, Service, read_id, require
from valetkey.ports.agents import ChatModel, ModelChoice

if TYPE_CHECKING:
    from valetkey.adapters.models.remote import Opened


def open_model(choice: ModelChoice) -> ChatModel:
    """The model of a chat. Its library is imported, and its credentials are looked for, at the first answer.

    Raises:
        ConfigurationError: nobody serves a model of that id, or what it needs is not installed.
    """
    if choice.model_id.strip().lower() == OFFLINE:
        from valetkey.adapters.models.offline import OfflineModel

        return OfflineModel()
    from valetkey.adapters.models.remote import RemoteModel

    model = read_id(choice.model_id)
    require(model)

    async def opener(choice: ModelChoice) -> Opened:
        return await _open(model, choice)

    return RemoteModel(choice, opener)


async def _open(model: ModelId, choice: ModelChoice) -> Opened:
    match model.service:
        case Service.BEDROCK:
            from valetkey.adapters.models.bedrock import open_bedrock

            return await open_bedrock(model, choice)
        case Service.ANTHROPIC:
            from valetkey.adapters.models.anthropic import open_anthropic

            return await open_anthropic(model, choice)
        case Service.OPENAI:
            from valetkey.adapters.models.openai import open_openai

            return await open_openai(model, choice)
        case Service.GOOGLE:
            from valetkey.adapters.models.google import open_google

            return await open_google(model, choice)
