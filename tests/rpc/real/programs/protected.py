"""The real client asks the seed's protected service, as several users."""

# ruff: noqa: T201, BLE001 - a program that prints, and tells of whatever was raised

import asyncio
import json
import sys

from hypha_rpc import connect_to_server

GIVEN = json.loads(sys.argv[1])


async def ask(token):
    server = await connect_to_server({"server_url": GIVEN["url"], "token": token})
    service = await server.get_service("public/protected-service")
    try:
        return await service.protected_function("42")
    except Exception as error:
        return f"{type(error).__name__}: {error}".strip()
    finally:
        await server.disconnect()


async def main():
    names = ("user", "kim", "anonymous")
    return dict(zip(names, await asyncio.gather(*(ask(GIVEN.get(name)) for name in names)), strict=True))


print("RESULT " + json.dumps(asyncio.run(main())))
