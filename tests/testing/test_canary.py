"""A canary is found in every coding in which a secret may come back, and nowhere else."""

import base64
import json
import traceback
from urllib.parse import quote

import pytest

from valetkey.testing.canary import find

TOKEN = 'tok_Zm9/ob+ar=é"42'  # every coding changes something of it


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("raw", TOKEN),
        ("URL-encoded", quote(TOKEN, safe="")),
        ("URL-encoded", "".join(f"%{octet:02X}" for octet in TOKEN.encode())),
        ("JSON-escaped", json.dumps({"token": TOKEN})),
        ("JSON-escaped", "".join(f"\\u{ord(each):04X}" for each in TOKEN)),
        ("hexadecimal", TOKEN.encode().hex()),
        *(("base64", base64.b64encode(f"{'x' * before}{TOKEN}{after}".encode()).decode())
          for before in range(4) for after in ("", "y", "yz")),
        *(("base64", base64.urlsafe_b64encode(f"{'x' * before}{TOKEN}".encode()).decode().rstrip("="))
          for before in range(4)),
    ],
)  # fmt: skip
def test_it_is_found(form, text):
    (seen,) = find({"log": f"before {text} after"}, ["another_secret", TOKEN])
    assert (seen.place, seen.form, seen.which) == ("log", form, 1)


def test_it_is_found_in_octets_that_are_no_text():
    assert find({"file": b"\xff\x00" + TOKEN.encode() + b"\xfe"}, [TOKEN])


def test_it_is_not_found_where_it_is_not():
    assert find({"log": "tok_Zm9", "file": b"\x00\xff", "empty": ""}, [TOKEN]) == []


def test_every_place_is_named():
    assert [seen.place for seen in find({"a": TOKEN, "b": "none", "c": TOKEN}, [TOKEN])] == ["a", "c"]


def test_a_sighting_does_not_print_the_secret():
    assert "tok_" not in repr(find({"log": TOKEN}, [TOKEN]))


def test_what_is_too_short_to_be_looked_for_is_refused_without_being_told():
    with pytest.raises(ValueError, match="8 characters") as caught:
        find({}, ["geheim!"])
    assert "geheim" not in "".join(traceback.format_exception_only(caught.value))
