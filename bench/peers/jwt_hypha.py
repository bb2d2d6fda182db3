"""Tokens per second by hypha's parse_auth_token, its key at hand; prints one number. Arguments: algorithm, tokens."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

told = json.loads(Path(sys.argv[2]).read_text("utf-8"))
os.environ |= {
    "AUTH0_DOMAIN": told["issuer"].removeprefix("https://").rstrip("/"),
    "AUTH0_AUDIENCE": told["audience"],
    "AUTH0_NAMESPACE": told["namespace"],
    "JWT_SECRET": "s" * 32,
}

from hypha.core import auth  # noqa: E402  # it reads the environment when imported


async def main(alg):
    auth.JWKS = {"keys": [told[alg]["jwk"]]}
    tokens = told[alg]["tokens"]
    for token in tokens[: len(tokens) // 5]:
        user = await auth.parse_auth_token(token)
        assert user.roles == ["editor", "reader"]
    began = time.perf_counter()
    for token in tokens:
        await auth.parse_auth_token(token)
    print(json.dumps(len(tokens) / (time.perf_counter() - began)))


asyncio.run(main(sys.argv[1]))
