"""Amazon Bedrock: Converse and ConverseStream by boto3."""

from __future__ import annotations

import os
from typing import Any

import boto3
from anyio.to_thread import current_default_thread_limiter, run_sync
from botocore.config import Config
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.providers.bedrock import BedrockModelProfile, BedrockProvider

from valetkey.adapters.models.backend import Backend
from valetkey.adapters.models.faults import model_error, no_key
from valetkey.adapters.models.hangup import hanging_up, note_connections
from valetkey.adapters.models.ids import ModelId
from valetkey.errors import ModelError
from valetkey.logs import speaking
from valetkey.ports.agents import ModelChoice
from valetkey.scrub import Scrubber
from valetkey.secret import Secret

CONNECT_SECONDS = 10.0
THREADS = 512
"""How many answers may be waited for at once: boto3 blocks a thread for each."""
POOLED = 64
"""Connections that are kept open between answers."""
REGION = "us-east-1"


async def open_bedrock(model: ModelId, choice: ModelChoice) -> Backend:
    """A client, its credentials looked for; no request is made to Bedrock.

    The endpoint is AWS_ENDPOINT_URL_BEDROCK_RUNTIME where that is set. Retries are ours: botocore makes none.

    Raises:
        ModelError: there are no credentials, or they cannot be read.
    """
    current_default_thread_limiter().total_tokens = THREADS  # of this loop alone: models have one to themselves
    failure: ModelError | None = None
    client: Any = None
    try:
        client = await run_sync(_client, choice)
    except Exception as error:  # noqa: BLE001  # botocore looks in many places, and each has errors of its own
        failure = model_error(error, model)
    if client is None:
        raise failure or no_key(model)
    chat = BedrockConverseModel(
        model.name,
        provider=BedrockProvider(bedrock_client=client),
        # Schemas go out as given; and whether Converse serves a model is for Bedrock to say.
        profile=BedrockModelProfile(json_schema_transformer=None, bedrock_supported_on_converse=True),
    )
    note_connections(client)
    return Backend(
        id=model,
        choice=choice,
        model=chat,
        closing=lambda: run_sync(client.close),
        hanging_up=hanging_up,
    )


def _client(choice: ModelChoice) -> Any:
    """The client; None where no credentials are found."""
    keys: dict[str, Any] = {}
    if choice.access_key_id and choice.secret_access_key:
        keys["aws_access_key_id"] = choice.access_key_id
        keys["aws_secret_access_key"] = choice.secret_access_key.reveal()
        keys["aws_session_token"] = choice.session_token.reveal() if choice.session_token else None
    session = boto3.Session(**keys)
    credentials = session.get_credentials()
    bearer = os.getenv("AWS_BEARER_TOKEN_BEDROCK", "")
    if credentials is None and not bearer:
        return None

    def hide(**_: Any) -> None:
        frozen = None if credentials is None else credentials.get_frozen_credentials()
        values = [bearer, *((frozen.secret_key, frozen.token) if frozen is not None else ())]
        # Not left again: it ends with the request's thread's own copy of the context.
        speaking(Scrubber([Secret(value) for value in values if value])).__enter__()

    region = choice.region or os.getenv("AWS_REGION") or session.region_name or REGION
    client = session.client(
        "bedrock-runtime",
        region_name=region,
        config=Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(CONNECT_SECONDS, choice.timeout),
            read_timeout=choice.timeout,
            max_pool_connections=POOLED,
        ),
    )
    # botocore signs, and logs what it signs, right after this.
    client.meta.events.register("before-call.bedrock-runtime", hide)
    return client
