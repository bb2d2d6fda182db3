"""A secret shows its value to reveal() and to nothing else."""

import copy
import io
import json
import logging
import pickle
import pprint
import traceback
from dataclasses import asdict, dataclass

import pydantic
import pytest

from valetkey.secret import MASK, Secret

VALUE = "xoxb-canary-5f3a9c"


@pytest.fixture
def secret():
    return Secret(VALUE)


def test_only_reveal_gives_the_value(secret):
    assert secret.reveal() == VALUE


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        format,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: f"{secret:s}",
        lambda secret: f"{[secret]} { ({'token': secret}) }",
        lambda secret: "%s %r %s" % (secret, secret, [secret]),  # noqa: UP031
        lambda secret: "{} {0!r}".replace("{}", "{0}").format(secret),
        lambda secret: json.dumps({"token": secret}, default=str),
        lambda secret: pprint.pformat({"token": secret}),
        lambda secret: str(dir(secret)),
    ],
)
def test_shown_it_is_stars(secret, show):
    shown = show(secret)
    assert VALUE not in shown
    assert MASK in shown or show(secret) == str(dir(secret))


def test_the_stars_do_not_tell_its_length():
    assert str(Secret("a")) == str(Secret("a" * 99)) == MASK


def test_json_refuses_it_without_repeating_it(secret):
    with pytest.raises(TypeError) as refused:
        json.dumps(secret)
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(secret, protocol):
    with pytest.raises(TypeError, match="seal it in the vault") as refused:
        pickle.dumps({"token": secret}, protocol)
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy])
def test_it_cannot_be_copied_out(secret, way):
    with pytest.raises(TypeError):
        way(secret)


def test_there_is_no_dictionary_of_its_attributes(secret):
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(AttributeError):
        secret.note = VALUE


def test_a_traceback_with_locals_does_not_show_it(secret):
    def fail(token):
        holder = {"token": token}
        raise ValueError(f"no {holder}")

    with pytest.raises(ValueError, match="no") as failed:
        fail(secret)
    shown = "".join(traceback.TracebackException.from_exception(failed.value, capture_locals=True).format())
    assert "token = ***" in shown
    assert VALUE not in shown


@pytest.mark.parametrize("text", ["%s", "%r", "%10s", "%(token)s"])
def test_a_log_does_not_show_it(secret, text):
    stream = io.StringIO()
    logger = logging.Logger("test")  # noqa: LOG001  # not known to any other test
    logger.addHandler(logging.StreamHandler(stream))
    logger.error(text, {"token": secret} if "token" in text else secret)
    assert MASK in stream.getvalue()
    assert VALUE not in stream.getvalue()


def test_a_dataclass_does_not_show_it(secret):
    @dataclass
    class Credential:
        token: Secret

    held = Credential(secret)
    assert VALUE not in repr(held)
    with pytest.raises(TypeError):
        asdict(held)  # it copies what it does not know


def test_a_pydantic_model_does_not_show_it(secret):
    class Credential(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        token: Secret

    held = Credential(token=secret)
    assert VALUE not in repr(held)
    assert VALUE not in repr(held.model_dump())
    with pytest.raises(pydantic.ValidationError) as refused:
        Credential(token=5)  # type: ignore[arg-type]
    assert VALUE not in str(refused.value)
    with pytest.raises(ValueError, match="Unable to serialize") as unwritten:
        held.model_dump_json()
    assert VALUE not in str(unwritten.value)


def test_two_are_equal_when_their_values_are():
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret(VALUE + "x")
    assert Secret("geheim-ß") == Secret("geheim-ß")


def test_it_does_not_equal_its_value(secret):
    assert secret != VALUE
    assert secret.__eq__(VALUE) is NotImplemented


def test_it_is_no_key_and_an_empty_one_is_false(secret):
    with pytest.raises(TypeError):
        hash(secret)
    assert secret
    assert not Secret("")


@pytest.mark.parametrize("wrong", [None, 5, b"bytes-canary", Secret("x")])
def test_it_holds_text_only_and_says_so_without_the_value(wrong):
    with pytest.raises(TypeError, match="holds a str") as refused:
        Secret(wrong)
    assert "canary" not in str(refused.value)
