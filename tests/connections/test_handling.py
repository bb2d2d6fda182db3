"""Finding a handler by name or provider; ours are made when they are first asked for."""

import pytest

from tests.connections.kit import world
from tests.oauth.fakes import Dice, Settings, Wire, provider
from valetkey.connections.handler import Begun, Handler
from valetkey.connections.handlers.environment import EnvironmentHandler
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.connections.handlers.pasted import PastedHandler
from valetkey.connections.handling import KINDS, Handling
from valetkey.errors import UnknownProvider
from valetkey.model.connections import Grant
from valetkey.providers.base import Endpoint, HandlerEntry, HandlerKind, Provider
from valetkey.providers.registry import Registry
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock


class Providers:
    """A registry of one provider, which counts what it is asked."""

    def __init__(self, **dialect) -> None:
        example = provider(**dialect)
        token = HandlerEntry(name="example-token", kind=HandlerKind.TOKEN)
        mine = HandlerEntry(name="example-mine", kind=HandlerKind.CUSTOM)
        self.example = Provider(
            name="example",
            title="Example",
            handlers=(*example.handlers, token, mine),
            origins=frozenset({"https://api.test"}),
        )
        self.asked = 0

    def get(self, name):
        self.asked += 1
        if name != "example":
            raise UnknownProvider(f"There is no provider {name!r}.")
        return self.example

    def find_handler(self, name):
        self.asked += 1
        for entry in self.example.handlers:
            if entry.name == name.replace("_", "-"):
                return self.example, entry
        raise UnknownProvider(f"There is no auth handler {name!r}. Did you mean example-oauth2?")

    def names(self):
        return ["example"]


class Own(Handler):
    """A handler of the host program."""

    at_home = False

    def __init__(self, name, provider="example", *, default=False):
        self.name = name
        self.provider = Provider(name=provider, title=provider.title(), handlers=())
        self.scoped = False
        self.default = default

    async def begin(self, flow):
        return Begun(url="")

    def judge(self, private, parameters):
        return {}

    async def finish(self, flow, private, answer):
        return Grant(credential=None)  # type: ignore[arg-type]

    async def refresh(self, credential, scopes):
        return Grant(credential=credential)

    def variables(self, credential):
        return {}


@pytest.fixture
def settings():
    return Settings()


@pytest.fixture
def registry():
    return Providers()


def made(registry, settings, *, environ=None, prebuilt=True):
    return Handling(registry, world(settings.clients, Wire(), Dice(), ManualClock()), environ or {}, prebuilt=prebuilt)


@pytest.fixture
def handling(registry, settings):
    return made(registry, settings, environ={"MY_VAR": "xoxb-1"})


def with_environment(settings):
    settings.set("example", client_id="id-1", environment={"EXAMPLE_TOKEN": "MY_VAR"})


class TestOurs:
    def test_a_name_wins_over_the_providers_default_and_has_to_be_of_that_provider(self, handling):
        assert isinstance(handling.find("example-token", "example"), PastedHandler)
        with pytest.raises(UnknownProvider, match="connects example accounts, not other ones"):
            handling.find("example-token", "other")
        assert isinstance(handling.find("example-token", None), PastedHandler)

    def test_an_underscore_is_as_good_as_a_hyphen(self, handling):
        assert handling.find("example_token") is handling.find("example-token")

    def test_a_provider_has_a_default(self, handling):
        found = handling.find(None, "example")
        assert isinstance(found, OAuth2Handler)
        assert found is handling.find("example-oauth2")

    def test_none_is_made_before_it_is_asked_for(self, registry, handling):
        assert registry.asked == 0
        first = handling.find("example-oauth2")
        before = registry.asked
        assert handling.find("example-oauth2") is first
        assert registry.asked == before

    @pytest.mark.parametrize(("name", "provider"), [("nothing-oauth2", None), (None, "nothing"), (None, None)])
    def test_what_there_is_not_is_an_error_of_ours(self, handling, name, provider):
        with pytest.raises(UnknownProvider):
            handling.find(name, provider)

    def test_the_nearest_names_are_told(self, handling):
        with pytest.raises(UnknownProvider, match="Did you mean example-oauth2"):
            handling.find("exmple-oauth2")
        handling.add(Own("my-service-oauth2"))
        with pytest.raises(UnknownProvider, match="Did you mean my-service-oauth2"):
            handling.find("my-servce-oauth2")

    def test_the_setting_that_chose_a_handler_which_is_not_there_is_named(self, handling, settings):
        settings.set("example", handler="exmple-oauth2")
        with pytest.raises(UnknownProvider, match=r"auth\.example\.handler .*Did you mean example-oauth2"):
            handling.find(None, "example")

    def test_a_class_of_your_own_has_to_be_given(self, handling):
        with pytest.raises(UnknownProvider, match=r"PocketAuth\(handlers=\[…\]\)"):
            handling.find("example-mine")

    def test_every_kind_but_your_own_has_a_line(self):
        assert set(KINDS) == set(HandlerKind) - {HandlerKind.CUSTOM}

    def test_every_handler_that_we_ship_can_be_made(self, settings):
        registry = Registry()
        ours = made(registry, settings)
        names = [entry.name for each in registry.names() for entry in registry.get(each).handlers]
        assert len(names) >= 19
        for name in names:
            found = ours.find(name)
            assert found.name == name
            assert found.variable_names()


class TestSettings:
    def test_endpoints_of_settings_open_their_origins(self, registry, settings, handling):
        before = handling.find(None, "example")
        assert before.provider.origins == {"https://api.test"}
        settings.set("example", client_id="id-1", token_url="http://localhost:9000/t")
        after = handling.find(None, "example")
        assert "http://localhost:9000" in after.provider.origins
        assert after is not before
        assert handling.find(None, "example") is after

    def test_a_handler_is_found_before_its_settings_are_complete(self, settings):
        registry = Providers(authorize=Endpoint("{domain_url}/a"), token=Endpoint("{domain_url}/t"), revoke=None)
        assert made(registry, settings).find(None, "example").variable_names() == {"EXAMPLE_TOKEN"}


class TestEnvironment:
    @pytest.mark.parametrize("name", ["environment", "example-environment", "example_environment"])
    def test_by_name_with_any_provider(self, handling, name):
        found = handling.find(name, "example")
        assert isinstance(found, EnvironmentHandler)
        assert found.name == "example-environment"

    def test_its_own_name_finds_it_without_a_provider(self, handling):
        assert isinstance(handling.find("example-environment"), EnvironmentHandler)

    def test_the_bare_name_needs_a_provider(self, handling):
        with pytest.raises(UnknownProvider):
            handling.find("environment")
        with pytest.raises(UnknownProvider):
            handling.find("environment", "nothing")
        with pytest.raises(UnknownProvider):
            handling.find("nothing-environment")

    def test_settings_make_it_the_default_at_once(self, handling, settings):
        assert isinstance(handling.find(None, "example"), OAuth2Handler)
        with_environment(settings)
        assert isinstance(handling.find(None, "example"), EnvironmentHandler)
        assert isinstance(handling.find("example-oauth2"), OAuth2Handler)
        settings.set("example", client_id="id-1")
        assert isinstance(handling.find(None, "example"), OAuth2Handler)

    async def test_it_reads_the_environment_that_was_handed_in(self, handling, settings):
        with_environment(settings)
        grant = await handling.find(None, "example").finish(None, {}, {})
        assert grant.credential.access_token == Secret("xoxb-1")


class TestOwn:
    def test_one_of_the_same_name_stands_in_for_ours(self, handling):
        assert isinstance(handling.find("example-oauth2"), OAuth2Handler)
        own = Own("example-oauth2")
        handling.add(own)
        assert handling.find("example_oauth2") is own
        assert handling.find(None, "example") is own

    def test_one_that_says_so_is_the_providers_default(self, handling):
        handling.add(Own("mine"))
        assert isinstance(handling.find(None, "example"), OAuth2Handler)
        own = Own("mine-too", default=True)
        handling.add(own)
        assert handling.find(None, "example") is own

    def test_of_two_the_one_added_last(self, handling):
        first, second = Own("a", default=True), Own("b", default=True)
        handling.add(first)
        handling.add(second)
        assert handling.find(None, "example") is second
        handling.add(first)
        assert handling.find(None, "example") is first
        handling.add(Own("a", default=False))
        assert handling.find(None, "example") is second

    def test_a_provider_that_only_it_serves(self, handling):
        own = Own("weather", provider="weather")
        handling.add(own)
        assert handling.find(None, "weather") is own
        handling.add(Own("weather-2", provider="weather"))
        with pytest.raises(UnknownProvider):
            handling.find(None, "weather")

    def test_settings_that_name_variables_go_before_a_default(self, handling, settings):
        handling.add(Own("mine", default=True))
        with_environment(settings)
        assert isinstance(handling.find(None, "example"), EnvironmentHandler)

    def test_a_provider_that_only_it_serves_has_an_environment(self, handling):
        handling.add(Own("weather", provider="weather_2"))
        assert handling.find("environment", "weather_2").name == "weather_2-environment"
        assert handling.find("weather-2-environment").provider.name == "weather_2"


class TestPrebuilt:
    def test_ours_can_be_switched_off(self, settings):
        off = made(Registry(), settings, prebuilt=False)
        with pytest.raises(UnknownProvider, match="switched off"):
            off.find("slack-oauth2")
        with pytest.raises(UnknownProvider, match="switched off"):
            off.find(None, "slack")
        own = Own("slack-mine", provider="slack", default=True)
        off.add(own)
        assert off.find(None, "slack") is own
        assert off.find("environment", "slack").name == "slack-environment"

    def test_providers_of_the_program_still_have_theirs(self, settings):
        registry = Registry()
        registry.register(provider())
        assert isinstance(made(registry, settings, prebuilt=False).find(None, "example"), OAuth2Handler)
