"""Startup functions of the server under test: services of every kind, and calls of clients' services."""

# ruff: noqa: BLE001, C901 - whatever it is, it is what the test looks at

import asyncio

import numpy as np


async def start(server):
    heard = []

    async def whoami(context=None):
        return context

    async def with_callback(callback, upto):
        return [await callback(each) for each in range(upto)]

    def in_thread(callback):
        return callback("thread").result(timeout=10)

    async def counted(upto):
        for each in range(upto):
            yield each

    def stepped(upto):
        yield from range(upto)

    def doubled(array):
        return array * 2

    async def fails(text):
        raise ValueError(text)

    async def wait():
        await asyncio.Event().wait()

    await server.register_service(
        {
            "id": "startup-kinds",
            "config": {"visibility": "public", "require_context": ["whoami"]},
            "whoami": whoami,
            "with_callback": with_callback,
            "in_thread": in_thread,
            "counted": counted,
            "stepped": stepped,
            "doubled": doubled,
            "size": len,
            "long": lambda size: b"\x07" * size,
            "fails": fails,
            "wait": wait,
            "nested": {"deeper": {"same": lambda value: value}},
        }
    )
    await server.register_service({"id": "startup-kept", "config": {"visibility": "protected"}, "f": lambda: "kept"})

    async def of_client(query):
        """Everything that a client's service can give, asked by the server itself."""
        service = await server.get_service(query)
        told = []

        async def tell(value):
            told.append(value)
            return value + 1

        back = await service.with_callback(tell, 3)
        array = await service.doubled(np.arange(4))
        try:
            await service.fails("on purpose")
        except Exception as error:
            failure = str(error)
        return {
            "told": told,
            "back": back,
            "array": [str(array.dtype), array.tolist()],
            "counted": [each async for each in await service.counted(3)],
            "stepped": [each async for each in await service.stepped(3)],
            "long": len(await service.long(3_000_000)),
            "size": await service.size(b"x" * 3_000_000),
            "context": await service.whoami(),
            "failure": failure,
            "listed": any(
                each["id"].endswith(query.rpartition(":")[2])
                for each in await server.list_services({"workspace": query.partition("/")[0]})
            ),
            "clients": [each["id"] for each in await server.list_clients(query.partition("/")[0])],
        }

    server.on("client_disconnected", lambda event: heard.append(event["data"]["id"]))
    await server.register_service(
        {
            "id": "startup-asks",
            "config": {"visibility": "public"},
            "of_client": of_client,
            "heard": lambda: heard,
        }
    )
