"""Which settings lead to Redis, and to which server."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.real.valkey import running
from tests.stores.values import NOW, a_connection, a_record, a_token, a_workspace, an_account
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.system import SystemClock
from valetkey.errors import InvalidSetting, StoreUnavailable
from valetkey.settings.pocket import Config
from valetkey.wiring.bus import open_bus, redis_client
from valetkey.wiring.stores import open_stores

REDIS = {"session": {"session_type": "redis"}}


def config(tmp_path: Path, environ: dict[str, str] | None = None, **keywords: Any) -> Config:
    return Config.load(tmp_path, environ or {}, **keywords)


def session(**server: Any) -> dict[str, Any]:
    return {"session": {"session_type": "redis", "redis": server}}


@pytest.mark.requirement("hp.session-redis")
@pytest.mark.parametrize(
    ("keywords", "store", "bus"),
    [
        (REDIS, "localhost:6379/0", "localhost:6379/0"),
        (REDIS | {"redis_url": "redis://bus:1/2"}, "bus:1/2", "bus:1/2"),
        (session(host="far", port=7, db=3), "far:7/3", "far:7/3"),
        (session(host="far_away") | {"redis_url": "redis://bus:1/2"}, "far_away:6379/0", "bus:1/2"),
        (session(host="::1", ssl=True), "::1:6379/0", "::1:6379/0"),
        ({"redis_url": "unix:///run/valkey.sock?db=4"}, "/run/valkey.sock/4", "/run/valkey.sock/4"),
    ],
)
def test_store_and_bus_are_where_the_settings_say(tmp_path, keywords, store, bus):
    settings = config(tmp_path, **keywords)
    assert redis_client(settings, HomeLoop(), store=True).name == f"redis {store}"
    assert redis_client(settings, HomeLoop(), store=False).name == f"redis {bus}"


@pytest.mark.requirement("d.database-url")
def test_the_environment_names_them_as_it_names_all_settings(tmp_path):
    environ = {
        "POCKET_SESSION__SESSION_TYPE": "redis",
        "POCKET_SESSION__REDIS__HOST": "far",
        "VALETKEY_SESSION__REDIS__PORT": "7",
        "VALETKEY_SESSION__REDIS__PASSWORD": "hunter2",
        "VALETKEY_REDIS_URL": "redis://:hunter3@bus:1/2",
    }
    settings = config(tmp_path, environ)
    assert redis_client(settings, HomeLoop(), store=True).name == "redis far:7/0"
    assert redis_client(settings, HomeLoop(), store=False).name == "redis bus:1/2"
    assert "hunter" not in f"{settings!r} {settings.session!r} {settings.general!r}"


@pytest.mark.requirement("hp.session-redis")
async def test_user_and_password_of_the_session_reach_the_server(tmp_path):
    with running() as server:
        server.tell("ACL", "SETUSER", "a:da@", "on", ">hunter2/@:", "~*", "&*", "+@all")
        for given in ({"username": "a:da@", "password": "hunter2/@:"}, {}):
            home = HomeLoop()
            settings = config(tmp_path, **session(host="127.0.0.1", port=server.port, **given))
            stores = open_stores(settings, tmp_path, clock=SystemClock(), home=home)
            await stores.ping()
            assert stores.kept is True
            assert stores.name == f"redis 127.0.0.1:{server.port}/0"
            assert await stores.connections.insert(a_connection(profile=str(given))) is True
            await asyncio.to_thread(stores.close)
            await asyncio.to_thread(home.close)
        assert server.tell("ACL", "SETUSER", "default", "on", ">changed", "resetpass") == b"+OK"


async def test_identity_is_kept_in_sql_beside_redis_and_opened_at_first_use(tmp_path):
    with running() as server:
        home = HomeLoop()
        settings = config(tmp_path, session={"session_type": "redis"}, redis_url=server.url)
        stores = open_stores(settings, tmp_path / "data", clock=SystemClock(), home=home)
        await stores.ping()
        assert await stores.connections.insert(a_connection()) is True
        assert stores.identity_opened() is False
        assert not (tmp_path / "data").exists()

        token = a_token()
        assert await stores.tokens.insert(token) is True
        assert await stores.tokens.revoke(token.id, now=NOW, by="ada", reason="test") == 1
        assert [stop.target for stop in await stores.stops.since(0)] == [token.id]
        assert await stores.accounts.insert(an_account()) is True
        assert await stores.workspaces.insert(a_workspace()) is True
        assert await stores.audit.append([a_record(1)]) is True
        assert await stores.counters.add("k", period=60) == 1
        assert stores.identity_opened() is True
        path = tmp_path / "data" / "valetkey.db"
        assert path.stat().st_mode & 0o777 == 0o600
        await stores.ping()
        path.rename(path.with_name("away"))
        with pytest.raises(StoreUnavailable, match="was removed or replaced"):
            await stores.ping()
        await asyncio.to_thread(stores.close)
        await asyncio.to_thread(home.close)
        assert stores.identity_opened() is False


async def test_identity_beside_redis_is_where_database_url_says(tmp_path):
    settings = config(tmp_path, database_url=f"sqlite:///{tmp_path}/own.db", **REDIS)
    stores = open_stores(settings, tmp_path, clock=SystemClock(), home=HomeLoop())
    assert await stores.tokens.insert(a_token()) is True
    assert (tmp_path / "own.db").is_file()
    stores.close()


async def test_the_bus_of_a_system_joins_its_processes_and_pings(tmp_path):
    with running() as server:
        homes = [HomeLoop(), HomeLoop()]
        buses = [open_bus(config(tmp_path, redis_url=server.url), home, SystemClock()) for home in homes]
        one, other = buses
        assert [await one.counters.add("k", period=60), await other.counters.add("k", period=60)] == [1, 2]
        async with asyncio.timeout(10), other.wakeups.listen("a") as hints:
            await hints.wait()
            one.wakeups.wake("a")
            await hints.wait()
        await one.ping()
        await asyncio.to_thread(server.kill)
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await one.ping()
        for bus, home in zip(buses, homes, strict=True):
            await asyncio.to_thread(bus.close)
            await asyncio.to_thread(home.close)


@pytest.mark.requirement("B2.wakeups")
async def test_without_redis_the_bus_is_this_process_s_own(tmp_path):
    home = HomeLoop()
    bus = open_bus(config(tmp_path), home, SystemClock())
    await bus.ping()
    assert await bus.counters.add("k", period=60) == 1
    async with bus.wakeups.listen("a") as hints:
        bus.wakeups.wake("a")
        await hints.wait()
    bus.close()
    assert home._thread is None


async def test_a_server_that_is_not_there_keeps_nobody_from_starting(tmp_path):
    home = HomeLoop()
    bus = open_bus(config(tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}"), home, SystemClock())
    bus.wakeups.wake("a")
    assert await bus.counters.add("k", period=60) == 1
    await asyncio.to_thread(bus.close)
    await asyncio.to_thread(home.close)


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"redis_url": "localhost"}, "redis_url"),
        (session(port=0), "session.redis.port"),
        (session(port="many"), "session.redis.port"),
        (session(db=-1), "session.redis.db"),
        (session(host="a/b"), "session.redis.host"),
        (session(hots="a"), "session.redis.hots"),
        ({"session": {"session_type": "rediss"}}, "session.session_type"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, keywords, told):
    with pytest.raises(InvalidSetting, match=told):
        open_bus(config(tmp_path, **keywords), HomeLoop(), SystemClock())


def test_a_missing_package_is_named_with_what_installs_it(tmp_path, monkeypatch):
    for name in [
        name for name in sys.modules if name == "redis" or name.startswith(("redis.", "valetkey.adapters.redis"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(InvalidSetting, match=r"pip install 'valetkey\[redis\]'"):
        open_bus(config(tmp_path, **REDIS), HomeLoop(), SystemClock())
