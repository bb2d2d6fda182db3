"""A client on each of two instances, of the real package, in a process of its own. Prints what it saw as JSON."""

import asyncio
import http.client
import json
import logging
import sys
import time

from hypha_rpc import connect_to_server

logging.disable(logging.CRITICAL)


async def main(given):
    seen = {}
    one, two = [
        await connect_to_server(
            {"server_url": url, "client_id": client, "token": given["token"], "workspace": "ws-user-root"}
        )
        for url, client in zip(given["urls"], ("one", "two"), strict=True)
    ]
    waits = asyncio.Event()

    async def say(text, context=None):
        return {"text": text, "from": context["from"], "ws": context["ws"], "user": context["user"]["id"]}

    async def twice(function, context=None):
        return [await function(1), await function(2)]

    async def size(data, context=None):
        return data + b"!"

    async def count(to, context=None):
        for number in range(to):
            yield number

    async def wait(context=None):
        waits.set()
        await asyncio.sleep(3600)

    functions = {"say": say, "twice": twice, "size": size, "count": count, "wait": wait}
    await two.register_service({"id": "echo", "config": {"require_context": True, "visibility": "public"}, **functions})
    echo = await one.get_service("echo")
    seen["said"] = await echo.say("hello")
    seen["called back"] = await echo.twice(lambda number: number * 10)
    long = bytes(range(256)) * 12_000
    seen["long"] = await echo.size(long) == long + b"!"
    seen["counted"] = [number async for number in await echo.count(3)]
    seen["clients"] = sorted(client["id"] for client in await one.list_clients())
    seen["services"] = sorted(service["id"] for service in await one.list_services())
    seen["http"] = await asyncio.to_thread(ask, given["urls"][0], given["token"])
    waiting = asyncio.ensure_future(echo.wait())
    await waits.wait()
    tell("WAITING")
    began = float(await asyncio.to_thread(sys.stdin.readline))
    try:
        await waiting
    except Exception as error:  # noqa: BLE001 - what it is told is what is looked at
        seen["failed"] = str(error).strip().splitlines()[-1]
    seen["failed after"] = time.time() - began
    while any("echo" in service["id"] for service in await one.list_services()):  # noqa: ASYNC110 - asked
        await asyncio.sleep(0.05)
    seen["gone after"] = time.time() - began
    seen["left"] = sorted(client["id"] for client in await one.list_clients())
    seen["http then"] = await asyncio.to_thread(ask, given["urls"][0], given["token"])
    tell(f"RESULT {json.dumps(seen)}")


def tell(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def ask(url, token):
    """Call over HTTP, on the instance where the service is not."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", "/ws-user-root/services/echo/say", json.dumps({"text": "hi"}), headers)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return [answer.status, told["text"] if answer.status == 200 else ""]


asyncio.run(main(json.loads(sys.argv[1])))
