"""The setting database_url, where it names PostgreSQL."""

import sys
from pathlib import Path

import pytest

from tests.real.postgres import PASSWORD, QUOTED, USER
from tests.stores.values import a_connection
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.system import SystemClock
from valetkey.errors import InvalidSetting
from valetkey.settings.pocket import Config
from valetkey.wiring.stores import Stores, open_stores


def opened(url: str, tmp_path: Path, home: HomeLoop) -> Stores:
    config = Config.load(tmp_path, {"VALETKEY_DATABASE_URL": url})
    return open_stores(config, tmp_path / "data", clock=SystemClock(), home=home)


@pytest.mark.requirement("d.database-url")
@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
async def test_the_stores_are_in_the_database_that_the_setting_names(postgres, postgres_database, tmp_path, scheme):
    home = HomeLoop()
    stores = opened(postgres_database.replace("postgresql", scheme, 1), tmp_path, home)
    await stores.ping()
    assert await stores.connections.insert(a_connection()) is True
    assert await stores.leaders.lead("sweep", owner="me", ttl=20) is True
    assert await stores.leaders.lead("sweep", owner="you", ttl=20) is False
    stores.close()
    home.close()
    assert stores.kept
    assert postgres.sql("SELECT count(*) FROM connections", url=postgres_database) == [(1,)]
    assert not (tmp_path / "data").exists()


def test_the_name_of_the_database_says_which_one_and_no_secret(tmp_path):
    home = HomeLoop()
    for url, name in (
        (f"postgresql://{USER}:{QUOTED}@db.test:5433/valetkey", "postgresql db.test:5433/valetkey"),
        (f"postgres://{USER}@db.test/valetkey?password=pw&sslmode=require", "postgresql db.test/valetkey"),
        ("postgresql:///valetkey?host=/run/one", "postgresql /run/one/valetkey"),
        ("postgresql:///valetkey?host=/run/two", "postgresql /run/two/valetkey"),
        ("postgresql://a.test,b.test/valetkey", "postgresql a.test,b.test/valetkey"),
    ):
        assert opened(url, tmp_path, home).name == name


@pytest.mark.parametrize("sign", "/?#[")
def test_a_password_that_is_not_quoted_is_refused_and_not_shown(tmp_path, sign):
    with pytest.raises(InvalidSetting, match="Write these as %2F, %3F, %23") as caught:
        opened(f"postgresql://{USER}:pw{sign}secret@db.test/valetkey", tmp_path, HomeLoop())
    assert "secret" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://db.test/valetkey", "postgresql:db", "sqlite://"])
def test_another_kind_of_database_is_refused(tmp_path, url):
    with pytest.raises(InvalidSetting, match="sqlite:/// or postgresql://"):
        opened(url, tmp_path, HomeLoop())


def test_without_its_package_the_setting_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("valetkey.adapters.sql.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(InvalidSetting, match=r"pip install 'valetkey\[postgres\]'"):
        opened("postgresql://db.test/valetkey", tmp_path, HomeLoop())
