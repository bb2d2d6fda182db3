"""Looking for secrets takes time that grows with the text, whatever the text and the secret are."""

import random
import time
from collections.abc import Callable

import pytest

import valetkey.scrub
import valetkey.scrub_forms
from tests.kernel.test_scrub import CODINGS, PASSWORD, TOKEN, escaped, percent
from valetkey.scrub import Scrubber
from valetkey.secret import Secret

LONG = "a" * 4000
TEXTS = {
    "almost, again and again": ("a" * 3999 + "b") * 25 + "%41",
    "throughout": "a" * 100_000 + "%41",
    "coded throughout": "%61" * 33_000,
    "coded, almost": ("%61" * 1300 + "b") * 25,
    "each second coded": "a%61" * 25_000,
    "coded backslashes": "%5c" * 33_000,
    "twice coded backslashes": "%255c" * 20_000,
    "base64, broken anywhere": "Y\nW\nF\nh\n" * 12_500,
    "hexadecimal, broken anywhere": "6\r\n1\r\n" * 16_000,
}


@pytest.mark.parametrize("secret", [LONG, "ab" * 2000, "a" * 2000 + "b" + "a" * 1999, "sk-abcdef0123456789"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_text_and_no_secret_make_it_slow(text, secret):
    begun = time.process_time()
    Scrubber([Secret(secret)]).text(text)
    assert time.process_time() - begun < 2  # 0.2 s at most; without the sweep up to 30 s


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_nor_does_a_text_that_comes_character_by_character(text):
    stream = Scrubber([Secret(LONG)]).stream()
    begun = time.process_time()
    for char in text[:8000]:
        stream.feed(char)
    stream.close()
    assert time.process_time() - begun < 3


def test_both_ways_of_looking_find_the_same(monkeypatch):
    draw = random.Random(5)  # noqa: S311  # the same texts each time
    ways: list[Callable[[str], str]] = [str, percent, escaped, lambda char: f"&#{ord(char)};"]
    secrets = [TOKEN, PASSWORD, "aaaabaaa", "%25a&amp;", "密码密码密码", "a b\nc d", "aa+/aa++aa==aa"]
    for _ in range(400):
        value = draw.choice(secrets)
        mixed = "".join(draw.choice(ways)(char) for char in value)
        pieces = [draw.choice([mixed, draw.choice(list(CODINGS.values()))(value)]) for _ in range(2)]
        text = draw.choice(["", "%", "\\", "&", "a"]).join([*pieces, mixed[: draw.randint(0, len(mixed))]])
        found = []
        for steps in (10**9, -1):
            for module in (valetkey.scrub, valetkey.scrub_forms):
                monkeypatch.setattr(module, "patience", lambda _, steps=steps: steps)
            scrubber = Scrubber([Secret(value)])
            found.append((scrubber.text(text), scrubber.stream().feed(text)))
        assert found[0] == found[1], text
