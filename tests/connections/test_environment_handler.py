"""Values of the environment: decision 10 and the case A-17."""

import traceback

import pytest

from tests.oauth.fakes import Settings, provider
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.environment import EnvironmentHandler
from valetkey.errors import InvalidAnswer, InvalidSetting, MissingSetting
from valetkey.model.caller import Owner
from valetkey.secret import Secret

FLOW = Flow(
    state="",
    owner=Owner(workspace="w", issuer="host", subject="MY_OTHER"),
    profile="MY_OTHER",
    scopes=frozenset({"MY_OTHER"}),
    redirect_uri="",
    pages="",
)


class Environ(dict[str, str]):
    """An environment that remembers what was looked at."""

    def __init__(self, **values: str) -> None:
        super().__init__(values)
        self.looked: list[str] = []

    def get(self, name, default=None):
        self.looked.append(name)
        return super().get(name, default)

    def __getitem__(self, name):
        self.looked.append(name)
        return super().__getitem__(name)


def handler(environ, **environment):
    settings = Settings(client_id="", client_secret=None, environment=environment)
    return EnvironmentHandler(provider=provider(), clients=settings.clients, environ=environ)


async def test_the_named_variables_become_the_credential():
    made = handler(Environ(MY_VAR="xoxb-1", MY_OTHER="no"), EXAMPLE_TOKEN="MY_VAR")
    grant = await made.finish(FLOW, {}, {})
    assert grant.credential.access_token == Secret("xoxb-1")
    assert made.variables(grant.credential) == {"EXAMPLE_TOKEN": Secret("xoxb-1")}
    assert made.variable_names() == {"EXAMPLE_TOKEN"}
    assert (grant.scopes, grant.expires_at) == (None, None)


async def test_only_names_in_settings_are_read_whatever_a_caller_says():
    environ = Environ(MY_VAR="xoxb-1", MY_OTHER="canary")
    grant = await handler(environ, EXAMPLE_TOKEN="MY_VAR").finish(
        FLOW, {"MY_OTHER": "MY_OTHER"}, {"environment": "MY_OTHER"}
    )
    assert environ.looked == ["MY_VAR"]
    assert list(grant.credential.fields) == ["EXAMPLE_TOKEN"]


async def test_a_variable_that_is_not_set_is_named():
    for environ in (Environ(), Environ(MY_VAR=""), Environ(MY_VAR=" \n")):
        with pytest.raises(MissingSetting, match=r"MY_VAR is not set.*auth\.example\.environment"):
            await handler(environ, EXAMPLE_TOKEN="MY_VAR").finish(FLOW, {}, {})


async def test_no_value_is_in_an_error_or_a_repr():
    environ = Environ(MY_VAR="canary-1")
    made = handler(environ, EXAMPLE_TOKEN="MY_VAR", EXAMPLE_USER="MISSING")
    with pytest.raises(MissingSetting) as missing:
        await made.finish(FLOW, {}, {})
    assert "canary" not in "".join(traceback.format_exception(missing.value))
    grant = await handler(environ, EXAMPLE_TOKEN="MY_VAR").finish(FLOW, {}, {})
    assert "canary" not in repr(grant) + repr(made)


async def test_what_is_not_utf_8_is_named_and_not_repeated():
    with pytest.raises(InvalidSetting, match="MY_VAR is not UTF-8") as refused:
        await handler(Environ(MY_VAR="canary\udcff"), EXAMPLE_TOKEN="MY_VAR").finish(FLOW, {}, {})
    assert "canary" not in str(refused.value)


async def test_settings_that_name_no_variable_say_what_to_write():
    with pytest.raises(MissingSetting) as missing:
        await handler(Environ()).finish(FLOW, {}, {})
    assert '[auth.example]\n    environment = {EXAMPLE_TOKEN = "MY_VARIABLE"}' in str(missing.value)


async def test_a_lone_one_is_the_access_token_whatever_it_is_called():
    grant = await handler(Environ(MY_VAR="x"), ANOTHER_NAME="MY_VAR").finish(FLOW, {}, {})
    assert grant.credential.access_token == Secret("x")


async def test_of_several_the_catalogues_is_the_access_token():
    environ = Environ(A="user", B="token")
    grant = await handler(environ, EXAMPLE_USER="A", EXAMPLE_TOKEN="B").finish(FLOW, {}, {})
    assert grant.credential.access_token == Secret("token")
    grant = await handler(environ, ONE="A", TWO="B").finish(FLOW, {}, {})
    assert not grant.credential.access_token
    assert set(grant.credential.fields) == {"ONE", "TWO"}


async def test_a_refresh_reads_again():
    environ = Environ(MY_VAR="old")
    made = handler(environ, EXAMPLE_TOKEN="MY_VAR")
    old = (await made.finish(FLOW, {}, {})).credential
    environ["MY_VAR"] = "new"
    assert (await made.refresh(old, frozenset())).credential.access_token == Secret("new")


async def test_nobody_is_asked():
    made = handler(Environ(MY_VAR="x"), EXAMPLE_TOKEN="MY_VAR")
    assert (made.interactive, made.scoped, made.name) == (False, False, "example-environment")
    assert (await made.begin(FLOW)).url == ""
    with pytest.raises(InvalidAnswer):
        made.judge({}, [("code", "c")])
