"""AuthProvider: open by name, and one object for each."""

import copy
import pickle
import subprocess
import sys
import threading
import typing

import pytest

from valetkey.errors import InvalidSetting, UnknownProvider
from valetkey.providers import names
from valetkey.providers.builtin import BuiltinNames
from valetkey.providers.names import BUILTIN, AuthProvider, look_in


@pytest.fixture(autouse=True)
def forgotten(monkeypatch, tmp_path):
    """Each test begins with the built-in names, in a folder of its own."""
    monkeypatch.setattr(names, "_members", {value: names._members[value] for value in BUILTIN})
    monkeypatch.setattr(names, "_folders", [])
    monkeypatch.chdir(tmp_path)


def test_all_spellings_of_a_built_in_name_are_one_object():
    slack = AuthProvider.SLACK
    assert slack is AuthProvider("slack")
    assert slack is AuthProvider["SLACK"]
    assert slack is AuthProvider.get_auth_provider("slack")
    assert slack is AuthProvider.get_auth_provider("SLACK")
    assert slack is AuthProvider(slack)
    assert (slack.name, slack.value) == ("SLACK", "slack")
    assert (str(slack), repr(slack)) == ("AuthProvider.SLACK", "<AuthProvider.SLACK: 'slack'>")


def test_a_registered_name_is_like_a_built_in_one():
    with pytest.raises(AttributeError):
        _ = AuthProvider.MINE
    mine = AuthProvider.register("mine")
    assert mine is AuthProvider.MINE
    assert mine is AuthProvider("mine")
    assert mine is AuthProvider["MINE"]
    assert mine is AuthProvider.register("mine")
    assert mine in AuthProvider
    assert (mine.name, mine.value) == ("MINE", "mine")


def test_a_file_in_the_projects_folder_makes_a_name(tmp_path):
    assert "my_service" not in AuthProvider
    (tmp_path / "valetkey_providers").mkdir()
    (tmp_path / "valetkey_providers" / "my_service.toml").write_text("this is not read", encoding="utf-8")
    (tmp_path / "valetkey_providers" / "Not A Name.toml").write_text("", encoding="utf-8")
    assert AuthProvider.MY_SERVICE is AuthProvider("my_service")
    assert AuthProvider.MY_SERVICE in list(AuthProvider)
    assert len(AuthProvider) == len(BUILTIN) + 1


def test_names_of_other_folders_are_there_once_a_registry_looks_in_them(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "valetkey_providers").mkdir(parents=True)
    (elsewhere / "valetkey_providers" / "acme.toml").write_text("", encoding="utf-8")
    assert "acme" not in AuthProvider
    look_in([elsewhere])
    assert AuthProvider.ACME.value == "acme"


def test_it_is_iterated_counted_and_searched():
    values = [each.value for each in AuthProvider]
    assert values == list(BUILTIN)
    assert values[::-1] == [each.value for each in reversed(AuthProvider)]
    assert len(AuthProvider) == len(values) >= 250
    assert AuthProvider.SLACK in AuthProvider
    assert "slack" in AuthProvider
    assert "slak" not in AuthProvider
    assert 7 not in AuthProvider
    assert list(AuthProvider.__members__) == [each.name for each in AuthProvider]
    assert "SLACK" in dir(AuthProvider)


def test_it_is_compared_ordered_and_hashed():
    assert AuthProvider("slack") == AuthProvider.SLACK
    assert AuthProvider.SLACK != AuthProvider.GOOGLE
    text: object = "slack"
    assert text != AuthProvider.SLACK
    assert AuthProvider.GOOGLE < AuthProvider.SLACK
    assert AuthProvider.SLACK >= AuthProvider.GOOGLE
    assert sorted([AuthProvider.X, AuthProvider.ASANA]) == [AuthProvider.ASANA, AuthProvider.X]
    assert {AuthProvider.SLACK: 1}[AuthProvider("slack")] == 1
    with pytest.raises(TypeError):
        _ = AuthProvider.SLACK < "x"


def test_it_is_matched():
    match AuthProvider("google"):
        case AuthProvider.SLACK:
            found = "slack"
        case AuthProvider.GOOGLE:
            found = "google"
    assert found == "google"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_and_copy_give_the_same_object(protocol):
    mine = AuthProvider.register("mine")
    for each in (AuthProvider.SLACK, mine):
        assert pickle.loads(pickle.dumps(each, protocol)) is each  # noqa: S301 - our own bytes
        assert copy.copy(each) is each
        assert copy.deepcopy({"of": each})["of"] is each


def test_an_unknown_attribute_names_the_nearest():
    with pytest.raises(AttributeError, match=r"'SLAK'\. Did you mean SLACK\?"):
        _ = AuthProvider.SLAK
    with pytest.raises(AttributeError, match="AuthProvider has no attribute 'slack'"):
        _ = AuthProvider.slack
    assert not hasattr(AuthProvider, "__wrapped__")
    assert getattr(AuthProvider, "NOBODY", None) is None


def test_an_unknown_value_is_a_value_error_that_names_the_nearest():
    with pytest.raises(UnknownProvider, match=r"'gogle'\. Did you mean google\?") as caught:
        AuthProvider("gogle")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ValueError, match="There is no provider"):
        AuthProvider.get_auth_provider("nothing of the kind")
    with pytest.raises(UnknownProvider):
        AuthProvider(7)  # type: ignore[arg-type]  # what a program may do all the same
    with pytest.raises(KeyError, match="Did you mean GITHUB"):
        AuthProvider["GITUB"]


@pytest.mark.parametrize("name", ["", "Mine", "1st", "my service", "my.service", "../x", "-x", None, 7])
def test_a_bad_name_is_not_registered(name):
    with pytest.raises(InvalidSetting, match="is no provider's name"):
        AuthProvider.register(name)


def test_it_is_constant_and_not_subclassed():
    with pytest.raises(AttributeError, match=r"AuthProvider\.register\('mine'\)"):
        AuthProvider.MINE = "mine"
    with pytest.raises(AttributeError, match="constant"):
        AuthProvider.SLACK.value = "other"  # type: ignore[misc]  # it is read-only
    with pytest.raises(TypeError, match=r"AuthProvider\.register"):

        class Mine(AuthProvider):
            SERVICE = "service"


def test_type_checkers_see_each_built_in_name():
    hints = typing.get_type_hints(BuiltinNames)
    for value in BUILTIN:
        assert hints[value.upper()] == typing.ClassVar[typing.Self]


def test_threads_that_register_at_once_get_one_object():
    gate = threading.Barrier(8)
    got = []

    def register():
        gate.wait()
        got.append(AuthProvider.register("together"))

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len(set(map(id, got))) == 1


def test_importing_and_naming_reads_no_file():
    program = (
        "import sys\n"
        "opened = []\n"
        "from valetkey.providers.names import AuthProvider\n"
        "import valetkey.providers.registry\n"
        "sys.addaudithook(lambda event, args: opened.append(args[0]) if event == 'open' else None)\n"
        "[AuthProvider.SLACK, AuthProvider('google'), AuthProvider['X'], len(AuthProvider)]\n"
        "valetkey.providers.registry.Registry().names()\n"
        "assert not [each for each in opened if str(each).endswith('.toml')], opened\n"
        "assert 'tomllib' in sys.modules\n"
        "valetkey.providers.registry.Registry().get('slack')\n"
        "assert [each for each in opened if str(each).endswith('slack.toml')], opened\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
