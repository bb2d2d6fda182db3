"""Share a function: a program anywhere registers it, and others call it by name, with curl or from Python.

    valetkey serve
    python examples/share-a-function.py http://127.0.0.1:9527

Who may call it says the service's visibility: `public` is everybody; `protected`, the default, is your workspace.
A token in HYPHA_TOKEN puts the service into your own workspace; without one it is in a new one, for as long as it runs.
"""

import asyncio
import os
import sys

from hypha_rpc import connect_to_server


def hello(name: str = "World", context=None):
    """Say hello to somebody."""
    return f"Hello {name}, you are {context['user']['id']}"


async def main(url):
    server = await connect_to_server({"server_url": url, "token": os.environ.get("HYPHA_TOKEN")})
    config = {"visibility": "public", "require_context": True}
    service = await server.register_service({"id": "greeter", "config": config, "hello": hello})

    print(f"From Python: await server.get_service({service['id']!r})")
    print(f"curl '{url}/{server.config.workspace}/services/greeter/hello?name=Ada'", flush=True)
    await server.serve()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:9527"))
