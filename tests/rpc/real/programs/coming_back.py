"""The real client when its connection does not last: cut, server restarted, revoked."""

# ruff: noqa: T201, BLE001, ASYNC110 - a program that prints, and tells of whatever was raised

import asyncio
import json
import sys
import time

from hypha_rpc import connect_to_server

GIVEN = json.loads(sys.argv[1])
SEEN: dict = {}


async def next_line(lines):
    return (await lines.readline()).decode().strip()


async def until_it_works(call):
    """The first answer; the library goes on connecting by itself."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await asyncio.wait_for(call(), 5)
        except Exception as error:
            if time.monotonic() > deadline:
                return f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.05)


async def until_closed(server):
    """Once the library has given up."""
    connection = server.rpc._connection
    begun = time.monotonic()
    while not connection._closed and time.monotonic() - begun < 20:
        await asyncio.sleep(0.02)
    return connection._closed


async def main():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    provider = await connect_to_server({"server_url": GIVEN["proxy"], "token": GIVEN["ada"], "client_id": "provider"})
    await provider.register_service({"id": "kept", "double": lambda value: value * 2})
    caller = await connect_to_server({"server_url": GIVEN["url"], "token": GIVEN["ada"], "client_id": "caller"})
    service = await caller.get_service("provider:kept")
    SEEN["before"] = await service.double("a")
    workspace = provider.config.workspace
    print("READY", flush=True)

    await next_line(reader)  # the connection of the provider was cut
    SEEN["cut"] = await until_it_works(lambda: service.double("b"))
    SEEN["listed"] = sorted(each["id"] for each in await caller.list_services({"client_id": "provider"}))
    SEEN["echo"] = await until_it_works(lambda: provider.echo("from the provider"))
    print("BACK", flush=True)

    await next_line(reader)  # the server was started anew
    SEEN["restart"] = await until_it_works(lambda: service.double("c"))
    SEEN["manager"] = await until_it_works(lambda: caller.echo("to the new manager"))
    SEEN["same"] = provider.rpc._connection.connection_info["workspace"] == workspace
    print("BACK", flush=True)

    await next_line(reader)  # the token was revoked
    SEEN["revoked"] = [await until_closed(caller), await until_closed(provider)]
    try:
        await asyncio.wait_for(caller.echo("once more"), 5)
    except Exception as error:
        SEEN["after"] = f"{type(error).__name__}: {error}"


asyncio.run(main())
print("RESULT " + json.dumps(SEEN), flush=True)
