"""Where a token goes: what a provider's file may say of it, and what comes of that."""

import base64

import pytest

from valetkey.connections.handler import placed
from valetkey.errors import InvalidSetting
from valetkey.providers.base import Placement
from valetkey.providers.catalog.load import load
from valetkey.secret import Secret

FILE = """
title = "Mine"
[handlers.mine-token]
kind = "token"
default = true
variables = { MINE_TOKEN = "access_token" }
fields = [{ name = "access_token", label = "Key" }]
[handlers.mine-token.placement]
"""


@pytest.fixture
def read(tmp_path):
    def reading(said):
        file = tmp_path / "mine.toml"
        file.write_text(FILE + said, encoding="utf-8")
        return load(file, operator=True).default_handler.placement

    return reading


def test_a_token_is_one_half_of_a_user_name_and_password(read):
    for said, pair in [("{token}:", "s3cret:"), (":{token}", ":s3cret"), ("api:{token}", "api:s3cret")]:
        placement = read(f'pair = "{said}"')
        assert placement == Placement(header="Authorization", prefix="Basic ", pair=said)
        loan = placed("mine-token", Secret("s3cret"), placement)
        coded = loan.headers["Authorization"].reveal().removeprefix("Basic ")
        assert base64.b64decode(coded).decode() == pair
        assert loan.token == Secret("s3cret")


def test_more_words_than_one_may_stand_before_a_token(read):
    loan = placed("mine-token", Secret("k"), read('prefix = "Token token="'))
    assert loan.headers == {"Authorization": Secret("Token token=k")}


def test_what_is_no_place_is_refused(read):
    for said, why in [
        ('pair = "{token}"', "pair is a user name, a colon and a password"),
        ('pair = "a:b"', "pair is a user name, a colon and a password"),
        ('pair = "{token}:{token}"', "pair is a user name, a colon and a password"),
        ('pair = "a:b:{token}"', "pair is a user name, a colon and a password"),
        ('query = "key"\npair = "{token}:"', "pair is a user name, a colon and a password"),
        ('prefix = "Bearer  "', "prefix is a word and a space"),
        ('prefix = " "', "prefix is a word and a space"),
        ('prefix = "a\\r\\nHost: "', "prefix is a word and a space"),
    ]:
        with pytest.raises(InvalidSetting, match=rf"mine-token\.placement\.{why}"):
            read(said)
