"""The text of a key: its form is checked before anybody is asked about it."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.protocol.apikey import ApiKey, Prefix, claims_to_be, read, write

BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def drawn(length: int):
    return st.text(alphabet=BASE64URL, min_size=length, max_size=length)


KEYS = st.builds(ApiKey, prefix=st.sampled_from(Prefix), id=drawn(22), secret=drawn(43))
EXAMPLE = "vk_" + "i" * 22 + "_" + "s" * 43


@given(KEYS)
def test_what_is_written_is_read_again(key):
    text = write(key)
    assert read(text) == key
    assert claims_to_be(text) is key.prefix
    assert re.fullmatch(r"vk[str]?_[\w-]{22}_[\w-]{43}_[0-9A-Za-z]{6}", text)


@pytest.mark.requirement("A-02")
@given(KEYS, st.randoms(use_true_random=False))
def test_one_mistyped_character_is_found(key, dice: random.Random):
    text = write(key)
    place = dice.randrange(len(text))
    other = dice.choice([each for each in BASE64URL if each != text[place]])
    assert read(text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    ["", "vk", "vk_", EXAMPLE, EXAMPLE + "_", EXAMPLE + "_000000", EXAMPLE.replace("vk_", "sk_") + "_000000", "vk_é"],
)
def test_what_is_no_key_is_none(text):
    assert read(text) is None


def test_a_key_with_something_before_or_behind_it_is_none():
    text = write(ApiKey(prefix=Prefix.KEY, id="i" * 22, secret="s" * 43))
    assert read(text) is not None
    assert [read(each) for each in (f"{text}\n", f" {text}", f"{text}{text}", text.upper())] == [None] * 4


def test_the_prefix_tells_whose_a_text_says_it_is():
    assert claims_to_be("vk_anything") is Prefix.KEY
    assert claims_to_be("vks_anything") is Prefix.SESSION
    assert [claims_to_be(text) for text in ("vk", "vkx_a", "sk_live_abc", "", "_")] == [None] * 5


def test_a_secret_is_not_shown():
    assert "s" * 43 not in repr(ApiKey(prefix=Prefix.KEY, id="i" * 22, secret="s" * 43))
