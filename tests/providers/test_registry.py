"""Finding providers: ours, the project's, the program's."""

import threading

import pytest

from valetkey.errors import InvalidSetting, UnknownProvider
from valetkey.providers import registry as registry_module
from valetkey.providers.base import HandlerEntry, HandlerKind, Provider
from valetkey.providers.catalog.load import load
from valetkey.providers.names import AuthProvider
from valetkey.providers.registry import Registry

MINE = """
title = "My service"
origins = ["https://api.mine.example"]

[handlers.my-service-oauth2]
kind = "oauth2"
default = true
variables = { MY_SERVICE_TOKEN = "access_token" }

[handlers.my-service-oauth2.oauth2]
authorize = "http://127.0.0.1:9000/authorize"
token = "https://mine.example/token"
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "valetkey_providers").mkdir()
    return tmp_path


def put(project, name, text=MINE):
    (project / "valetkey_providers" / f"{name}.toml").write_text(text, encoding="utf-8")


def pasted(name, handler=None, *, default=True):
    return Provider(
        name=name,
        title=name,
        handlers=(HandlerEntry(name=handler or f"{name}-token", kind=HandlerKind.TOKEN, default=default),),
    )


def test_a_built_in_provider_is_read_once_and_shared(tmp_path):
    first = Registry(paths=[tmp_path]).get("spotify")
    assert first.title == "Spotify"
    assert first is Registry(paths=[tmp_path]).get("spotify")


def test_threads_share_one_reading(tmp_path, monkeypatch):
    read = []
    reading = threading.Event()

    def slow(path, *, operator):
        read.append(path.name)
        reading.wait(1)
        return load(path, operator=operator)

    monkeypatch.setattr(registry_module, "load", slow)
    monkeypatch.setattr(registry_module, "_builtin", {})
    registry, got = Registry(paths=[tmp_path]), []
    threads = [threading.Thread(target=lambda: got.append(registry.get("zoom"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    reading.set()
    for thread in threads:
        thread.join()
    assert read == ["zoom.toml"]
    assert len({id(each) for each in got}) == 1
    assert len(got) == 8


def test_an_unknown_provider_names_the_nearest(tmp_path):
    with pytest.raises(UnknownProvider, match=r"'slak'\. Did you mean slack\?.*valetkey_providers/<name>\.toml"):
        Registry(paths=[tmp_path]).get("slak")
    with pytest.raises(UnknownProvider, match="'zzzzzz'"):
        Registry(paths=[tmp_path]).get("zzzzzz")


def test_a_project_provider_is_found_and_is_permission_for_its_hosts(project):
    registry = Registry(paths=[project])
    put(project, "my_service")
    provider = registry.get("my_service")
    oauth2 = provider.default_handler.oauth2
    assert oauth2 is not None
    assert oauth2.authorize.operator
    assert oauth2.authorize.url == "http://127.0.0.1:9000/authorize"
    assert "my_service" in registry.names()
    assert AuthProvider.MY_SERVICE.value == "my_service"
    assert registry.get("my_service") is provider


def test_the_current_folder_is_looked_in_by_default(project, monkeypatch):
    put(project, "acme_here", MINE.replace("my-service", "acme-here").replace("MY_SERVICE", "ACME_HERE"))
    monkeypatch.chdir(project)
    registry = Registry()
    monkeypatch.chdir("/")
    assert registry.get("acme_here").title == "My service"


def test_a_project_file_that_takes_a_built_in_name_is_refused(project):
    put(project, "slack")
    registry = Registry(paths=[project])
    for look in (registry.names, lambda: registry.get("slack"), lambda: registry.get("google")):
        with pytest.raises(InvalidSetting, match=r"valetkey_providers/slack\.toml: we ship a provider 'slack'"):
            look()


def test_one_name_in_two_folders_is_refused(project, tmp_path):
    other = tmp_path / "other"
    (other / "valetkey_providers").mkdir(parents=True)
    put(project, "my_service")
    put(other, "my_service")
    with pytest.raises(InvalidSetting, match="is in two folders"):
        Registry(paths=[project, other]).get("my_service")
    assert Registry(paths=[project, project]).get("my_service").name == "my_service"


def test_a_broken_file_harms_only_its_own_provider(project):
    put(project, "broken", "title = ")
    registry = Registry(paths=[project])
    assert registry.get("slack").name == "slack"
    with pytest.raises(InvalidSetting, match=r"valetkey_providers/broken\.toml is no TOML"):
        registry.get("broken")


def test_a_file_that_is_no_providers_name_is_an_error_when_it_is_asked_for(project):
    put(project, "My-Service")
    with pytest.raises(InvalidSetting, match=r"valetkey_providers/My-Service\.toml: .* lower case"):
        Registry(paths=[project]).get("My-Service")


def test_a_handler_is_found_by_either_spelling(project):
    put(project, "my_service")
    registry = Registry(paths=[project])
    for name in ("my_service-oauth2", "my-service-oauth2"):
        provider, entry = registry.find_handler(name)
        assert (provider.name, entry.name) == ("my_service", "my-service-oauth2")
    assert registry.find_handler("apitoken")[0].name == "apitoken"
    assert registry.find_handler("linkedin-basicauth")[0].name == "linkedin"
    assert registry.find_handler("kraken_keypair")[0].name == "kraken"


def test_finding_a_handler_reads_one_file(project, monkeypatch):
    read = []

    def noted(path, *, operator):
        read.append(path.stem)
        return load(path, operator=operator)

    monkeypatch.setattr(registry_module, "_builtin", {})
    monkeypatch.setattr(registry_module, "load", noted)
    assert Registry(paths=[project]).find_handler("slack-oauth2")[0].name == "slack"
    assert read == ["slack"]


def test_an_unknown_handler_names_the_nearest(project):
    with pytest.raises(UnknownProvider, match=r"'slack-oauth'\. Did you mean slack-oauth2"):
        Registry(paths=[project]).find_handler("slack-oauth")
    with pytest.raises(UnknownProvider, match=r"Did you mean google-device\?"):
        Registry(paths=[project]).find_handler("google-devise")


def test_a_program_registers_a_provider_of_its_own(project):
    registry = Registry(paths=[project])
    mine = pasted("in_code")
    registry.register(mine)
    registry.register(pasted("in_code"))
    assert registry.get("in_code") is mine
    assert "in_code" in registry.names()
    assert registry.find_handler("in_code-token")[0] is mine
    assert AuthProvider.IN_CODE is AuthProvider("in_code")


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (pasted("slack"), "There is a provider 'slack' already"),
        (pasted("other_slack", "slack-token"), "Slack has a handler 'slack-token' already"),
        (pasted("Upper"), "is no provider's name"),
        (pasted("no_default", default=False), "Exactly one handler"),
        (Provider(name="empty", title="Empty", handlers=()), "at least one handler"),
    ],
)
def test_what_is_not_registered(project, provider, said):
    registry = Registry(paths=[project])
    with pytest.raises(InvalidSetting, match=said):
        registry.register(provider)
    assert provider.name == "slack" or provider.name not in registry.names()


def test_registering_reads_no_other_provider(project, monkeypatch):
    monkeypatch.setattr(registry_module, "_builtin", {})
    put(project, "broken", "title = ")
    registry = Registry(paths=[project])
    registry.register(pasted("quick"))
    assert registry.get("quick").name == "quick"
    assert registry_module._builtin == {}


def test_a_second_provider_under_a_registered_name_is_refused(project):
    registry = Registry(paths=[project])
    registry.register(pasted("twice"))
    with pytest.raises(InvalidSetting, match="There is a provider 'twice' already"):
        registry.register(pasted("twice", "twice-other"))


def test_a_file_written_after_a_registration_does_not_take_its_place(project):
    registry = Registry(paths=[project])
    registry.register(pasted("early"))
    put(project, "early")
    with pytest.raises(InvalidSetting, match="'early' is registered by the program"):
        registry.names()
