"""A service in a client of its own: prints the workspace and a token for it, then serves until its input ends."""

import asyncio
import json
import logging
import sys

from hypha_rpc import connect_to_server

logging.disable(logging.CRITICAL)


def say(text):
    """Give it back."""
    return text


async def main(url, token):
    server = await connect_to_server({"server_url": url, "token": token, "client_id": "provider"})
    await server.register_service({"id": "bench", "config": {"visibility": "protected"}, "say": say})
    workspace = server.config["workspace"]
    bearer = await server.generate_token({"workspace": workspace, "expires_in": 36000})
    print(json.dumps({"workspace": workspace, "token": bearer}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main(*sys.argv[1:]))
