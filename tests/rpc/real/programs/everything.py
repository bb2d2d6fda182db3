"""The real client, as programs use it; prints what it saw as JSON."""

# ruff: noqa: T201, BLE001 - a program that prints, and tells of whatever was raised

import asyncio
import json
import sys

import numpy as np
from hypha_rpc import connect_to_server
from hypha_rpc.sync import connect_to_server as connect_in_sync

GIVEN = json.loads(sys.argv[1])


class Seen(dict):
    """Says as it goes what was reached: that is read where something hangs."""

    def __setitem__(self, name, value):
        print(name, file=sys.stderr)
        super().__setitem__(name, value)


SEEN = Seen()


def kinds(context_of=None):
    """A service of every kind of function."""

    async def whoami(context=None):
        return context

    async def with_callback(callback, upto):
        return [await callback(each) for each in range(upto)]

    async def counted(upto):
        for each in range(upto):
            yield each

    def stepped(upto):
        yield from range(upto)

    def fails(text):
        raise ValueError(text)

    async def slow(seconds):
        await asyncio.sleep(seconds)
        return "late"

    return {
        "id": "kinds",
        "name": "Kinds",
        "type": "generic",
        "description": "one of each",
        "config": {"visibility": "protected", "require_context": ["whoami"], **(context_of or {})},
        "whoami": whoami,
        "with_callback": with_callback,
        "counted": counted,
        "stepped": stepped,
        "doubled": lambda array: array * 2,
        "size": len,
        "long": lambda size: b"\x07" * size,
        "fails": fails,
        "slow": slow,
        "nested": {"deeper": {"same": lambda value: value}},
    }


async def refusal(work, seconds=20):
    try:
        await asyncio.wait_for(work, seconds)
    except Exception as error:
        return f"{type(error).__name__}: {error}".strip()
    return "not refused"


async def used(service):
    """What the functions of such a service give."""
    told = []

    def tell(value):
        told.append(value)
        return value * 10

    array = await service.doubled(np.arange(6, dtype="int16").reshape(2, 3))
    early = await service.counted(1000)
    async for _ in early:
        break
    await early.aclose()
    return {
        "context": await service.whoami(),
        "back": await service.with_callback(tell, 3),
        "told": told,
        "counted": [each async for each in await service.counted(3)],
        "stepped": [each async for each in await service.stepped(3)],
        "array": [str(array.dtype), array.tolist()],
        "long": len(await service.long(3_000_000)),
        "size": await service.size(b"x" * 3_000_000),
        "nested": await service.nested.deeper.same({"a": [1, None, "ü"]}),
        "failure": await refusal(service.fails("on purpose")),
    }


async def connect(token=None, **more):
    return await connect_to_server({"server_url": GIVEN["url"], "token": token, **more})


async def main():
    ada = await connect(GIVEN["ada"], client_id="ada-1")
    eve = await connect(GIVEN["eve"], client_id="eve-1")
    nobody = await connect()
    ending = await connect(await eve.generate_token({"expires_in": 6}))
    SEEN["connected"] = {
        name: {"workspace": each.config.workspace, "user": each.config.user}
        for name, each in (("ada", ada), ("eve", eve), ("nobody", nobody))
    }
    SEEN["registered"] = (await ada.register_service(kinds()))["id"]
    await ada.register_service(
        {
            "id": "open",
            "config": {"visibility": "public", "require_context": True},
            "whoami": lambda context=None: context,
        }
    )
    again = await connect(GIVEN["ada"], client_id="ada-2")
    SEEN["by client"] = await used(await again.get_service("ada-1:kinds"))
    SEEN["by server"] = await used(await eve.get_service("public/startup-kinds"))
    asks = await eve.get_service("public/startup-asks")
    SEEN["server asks"] = await asks.of_client(SEEN["registered"])
    opened = await nobody.get_service(f"{ada.config.workspace}/open")
    SEEN["open"] = await opened.whoami()
    SEEN["forged"] = await opened.whoami(context={"user": {"id": "root"}})
    SEEN["info"] = await again.get_service_info("ada-1:kinds")
    SEEN["listed"] = sorted(each["id"] for each in await again.list_services())
    SEEN["listed by eve"] = sorted(each["id"] for each in await eve.list_services(ada.config.workspace))
    waiting = asyncio.ensure_future(slowly())
    await refused(ada, eve, nobody)
    await tokens(ada)
    await ada.unregister_service("open")
    SEEN["unregistered"] = await refusal(nobody.get_service(f"{ada.config.workspace}/open"))
    SEEN["no longer"] = await refusal(opened.whoami())
    await again.disconnect()
    for _ in range(100):
        if "ada-2" in (heard := await asks.heard()):
            break
        await asyncio.sleep(0.02)
    SEEN["heard"] = "ada-2" in heard
    SEEN["slow"] = await waiting
    SEEN["sync"] = await asyncio.to_thread(in_sync)
    for _ in range(500):
        if ending.rpc._connection._closed:
            break
        await asyncio.sleep(0.02)
    SEEN["ended"] = ending.rpc._connection._closed
    for each in (ada, eve, nobody):
        await each.disconnect()


async def slowly():
    """A call that takes longer than its timeout, and says that it goes on."""
    server = await connect(GIVEN["ada"], method_timeout=2)
    try:
        return await (await server.get_service("ada-1:kinds")).slow(2.3)
    finally:
        await server.disconnect()


async def refused(ada, eve, nobody):
    """What nobody may do, asked with the library's own means."""
    home = ada.config.workspace

    def method(client, name, target):
        return client.rpc._generate_remote_method(
            {"_rtype": "method", "_rtarget": target, "_rmethod": name, "_rpromise": "*"}
        )

    ada1, server = f"{home}/ada-1", "public/server"
    own = "services.startup-kinds.size"
    asked = {
        "protected, by the manager": (eve.get_service(f"{home}/ada-1:kinds")),
        "protected, past the manager": (method(eve, "services.built-in.get_service", ada1)("kinds")),
        "protected, its function": (method(eve, "services.kinds.size", ada1)(b"")),
        "own protected": (eve.get_service("public/startup-kept")),
        "own protected, past the manager": (method(eve, "services.built-in.get_service", server)("startup-kept")),
        "own protected, its function": (method(nobody, "services.startup-kept.f", server)()),
        "attribute of a function": (method(eve, f"{own}.__self__", server)()),
        "attribute of a service": (method(eve, "services.startup-kinds.__class__", server)()),
        "library's own": (method(eve, "services.built-in.get_service.__func__", server)()),
        "message cache": (method(eve, "services.built-in.message_cache.process", ada1)("k")),
        "message cache of the server": (method(eve, "services.built-in.message_cache.remove", server)("k")),
        "sessions": asyncio.wait_for(method(eve, "nothing.resolve", server)(1), 0.5),
        "manager's": (method(eve, "services.default.get_service.__self__", f"*/{eve.rpc._connection.manager_id}")()),
        "another's client": register_as(eve, f"{ada1}:mine"),
        "another's function": (
            (await eve.get_service("public/startup-kinds")).with_callback(method(eve, "services.open.whoami", ada1), 1)
        ),
    }
    SEEN["refused"] = dict(zip(asked, await asyncio.gather(*map(refusal, asked.values())), strict=True))


async def register_as(client, service_id):
    manager = await client.rpc.get_manager_service()
    await manager.register_service({"id": service_id, "name": "x", "config": {}, "service_schema": {}})


async def tokens(ada):
    """Child tokens, and what they may."""
    home = ada.config.workspace
    reading = await ada.generate_token({"permission": "read", "expires_in": 600})
    bound = await ada.generate_token({"client_id": "only-this", "workspace": home})
    special = await ada.generate_token({"extra_scopes": ["files:read"]})
    reader = await connect(reading, workspace=home)
    kinds_there = await reader.get_service("ada-1:kinds")
    SEEN["child"] = {
        "user": reader.config.user,
        "calls": await kinds_there.size(b"abc"),
        "parsed": (await ada.parse_token(reading)),
        "registers": await refusal(reader.register_service({"id": "no", "f": len})),
        "wider": await refusal(reader.generate_token({"permission": "admin"})),
        "elsewhere": await refusal(ada.generate_token({"workspace": "ws-user-local|eve"})),
        "other client": await refusal(connect(bound, client_id="another")),
        "that client": (await connect(bound, client_id="only-this")).config.client_id,
        "special": await refusal(connect(special)),
        "other workspace": await refusal(connect(reading, workspace="ws-user-local|eve")),
        "bad": await refusal(connect("no-such-token")),
        "twice": await refusal(connect(GIVEN["ada"], client_id="ada-1")),
    }
    await ada.revoke_token(reading)
    SEEN["child"]["revoked"] = await refusal(connect(reading))


def in_sync():
    """The library's synchronous form."""
    with connect_in_sync({"server_url": GIVEN["url"], "token": GIVEN["eve"], "client_id": "eve-sync"}) as server:
        service = server.get_service("public/startup-kinds")
        registered = server.register_service({"id": "from-sync", "twice": lambda value: value * 2})
        return {
            "registered": registered["id"],
            "own": server.get_service("from-sync").twice("ab"),
            "counted": list(service.counted(3)),
            "back": service.with_callback(lambda value: value + 100, 2),
        }


asyncio.run(main())
print("RESULT " + json.dumps(SEEN))
