"""Calls per second of one client into a service of another. Arguments: URL, token, workspace, calls, in flight."""

import asyncio
import json
import logging
import sys
import time

from hypha_rpc import connect_to_server

logging.disable(logging.CRITICAL)


async def main(url, token, workspace, calls, in_flight):
    server = await connect_to_server({"server_url": url, "token": token, "workspace": workspace})
    service = await server.get_service("bench")

    async def work(count):
        for number in range(count):
            text = f"hello {number}"
            if await service.say(text) != text:
                raise RuntimeError("another answer")

    await work(20)
    began = time.perf_counter()
    await asyncio.gather(*(work(int(calls) // int(in_flight)) for _ in range(int(in_flight))))
    print(json.dumps(int(calls) / (time.perf_counter() - began)), flush=True)
    await server.disconnect()


asyncio.run(main(*sys.argv[1:]))
