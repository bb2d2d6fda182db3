"""Tokens per second by FastMCP's JWTVerifier, its key at hand; prints one number. Arguments: algorithm, tokens."""

import asyncio
import json
import sys
import time
from pathlib import Path

from fastmcp.server.auth.providers.jwt import JWTVerifier

LEAST = 2_000


async def main(alg, path):
    told = json.loads(Path(path).read_text("utf-8"))
    verifier = JWTVerifier(public_key=told[alg]["pem"], issuer=told["issuer"], audience=told["audience"], algorithm=alg)
    tokens = told[alg]["tokens"]
    tokens *= max(1, LEAST // len(tokens))
    for token in tokens[: len(tokens) // 5]:
        assert (await verifier.verify_token(token)).scopes == ["openid", "profile", "email"]
    began = time.perf_counter()
    for token in tokens:
        await verifier.verify_token(token)
    print(json.dumps(len(tokens) / (time.perf_counter() - began)))


asyncio.run(main(*sys.argv[1:]))
