"""The device grant's requests and answers, hostile ones among them, and the pace of its polls (RFC 8628)."""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

from valetkey.errors import InvalidSetting
from valetkey.ports.world import Response
from valetkey.protocol.client_auth import prove
from valetkey.protocol.device import (
    DeviceCodes,
    Pace,
    Poll,
    device_request,
    judge_codes,
    judge_poll,
    poll_request,
)
from valetkey.protocol.token import Expected, Refusal, Verdict, judge_token
from valetkey.secret import Secret

CODE = "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS"  # RFC 8628 §3.2
ANSWER = {
    "device_code": CODE,
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://example.com/device",
    "verification_uri_complete": "https://example.com/device?user_code=WDJB-MJHT",
    "expires_in": 1800,
    "interval": 5,
}


def answer(members: object, status: int = 200) -> Response:
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    return Response(status=status, headers=(("content-type", "application/json"),), body=body)


def judged(status: int = 200, operator: bool = False, **changes: Any) -> DeviceCodes | Refusal:
    members = {name: value for name, value in (ANSWER | changes).items() if value is not None}
    return judge_codes(answer(members, status), operator=operator, now=0.0)


def codes(**changes: Any) -> DeviceCodes:
    found = judged(**changes)
    assert isinstance(found, DeviceCodes), found
    return found


def fields(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def test_the_request_names_the_client_and_asks_for_scopes_as_the_provider_writes_them():
    public = prove("none", client_id="me", secret=None)
    told = device_request(client_id="me", proof=public, scopes=["a", "b"])
    assert fields(told.body) == {"client_id": "me", "scope": "a b"}
    basic = prove("client_secret_basic", client_id="me", secret=Secret("s"))
    told = device_request(
        client_id="me",
        proof=basic,
        scopes=["a", "b"],
        scope_parameter="scopes",
        scope_separator=",",
        extra={"resource": "https://api.test"},
    )
    assert fields(told.body) == {"client_id": "me", "scopes": "a,b", "resource": "https://api.test"}
    assert told.headers["authorization"].startswith("Basic ")
    told = device_request(client_id="me", proof=public, scopes=["a"], scope_parameter="")
    assert fields(told.body) == {"client_id": "me"}
    with pytest.raises(InvalidSetting, match="client_id"):
        device_request(client_id="me", proof=public, extra={"client_id": "you"})


def test_the_poll_is_a_token_request_of_the_grants_own_type():
    proof = prove("client_secret_post", client_id="me", secret=Secret("s"))
    told = poll_request(device_code=Secret(CODE), client_id="me", proof=proof)
    assert fields(told.body) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": CODE,
        "client_id": "me",
        "client_secret": "s",
    }
    assert CODE not in repr(told)


def test_an_answer_gives_both_codes_and_where_to_enter_one():
    found = codes()
    assert found.device_code.matches(CODE)
    assert CODE not in repr(found)
    assert (found.user_code, found.uri) == ("WDJB-MJHT", "https://example.com/device")
    assert found.complete_uri.endswith("WDJB-MJHT")
    assert (found.life, found.interval) == (1800.0, 5.0)
    google = codes(verification_uri=None, verification_url="https://www.google.com/device")
    assert google.uri == "https://www.google.com/device"
    assert codes(verification_uri_complete=None).complete_uri == ""


@pytest.mark.requirement("G-05")
def test_numbers_of_the_provider_are_kept_within_bounds():
    inf, nan = float("inf"), float("nan")
    told = {0: 1, -1: 1, "5": 5, 1e9: 60, 7: 7, 2.5: 2.5, "x": 5, inf: 60, -inf: 1, "": 5}
    for given, interval in told.items():
        assert codes(interval=given).interval == interval, given
    for given in (None, nan, True, [], {}):
        assert codes(interval=given).interval == 5, given
    for given, life in {0: 1, -1: 1, "600": 600, 1e12: 1800, inf: 1800, "soon": 300}.items():
        assert codes(expires_in=given).life == life, given
    assert codes(expires_in=None).life == 300


@pytest.mark.requirement("G-06")
def test_a_page_that_nobody_should_open_is_refused_whole():
    hostile = [
        "http://example.com/device",
        "http://127.0.0.1/device",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "https://example.com/\x1b[31m",
        "https://example.com/\u202edevice",
        "https://us@evil.test/device",
        "https://example.com/a b",
        "-https://example.com",
        "https://example.com/$(calc)",
        "//example.com/device",
        "https://example.com/#x",
        "https://" + "a" * 3000,
        "",
        17,
        ["https://example.com"],
    ]
    for uri in hostile:
        for name in ("verification_uri", "verification_uri_complete"):
            if (name, uri) == ("verification_uri_complete", ""):
                continue  # as good as none
            changes: dict[str, Any] = {name: uri}
            refused = judged(**changes)
            assert isinstance(refused, Refusal), (name, uri)
            assert CODE not in refused.text
    assert isinstance(judged(verification_uri=None), Refusal)
    # Plain http is for an endpoint on this machine that the operator named.
    assert isinstance(judged(operator=True, verification_uri="http://127.0.0.1:8000/device"), DeviceCodes)
    assert isinstance(judged(operator=True, verification_uri="http://10.0.0.1/device"), Refusal)


@pytest.mark.requirement("G-06")
def test_a_code_is_what_a_person_can_read_and_type():
    for good in ("WDJB-MJHT", "1234", "ab CD-12", "A", "GQVQ-JKEC"):
        assert codes(user_code=good).user_code == good
    for odd in (
        "",
        " A",
        "A ",
        "<b>A</b>",
        "A\nB",
        "\x1b[1mA",
        "\u0410-\u0411",
        "A\u202eB",
        "A" * 41,
        1234,
        None,
        ["A"],
    ):
        assert isinstance(judged(user_code=odd), Refusal), odd
    for odd in ("", "a b", "a\n", "é", "x" * 5000, 12, None):
        assert isinstance(judged(device_code=odd), Refusal), odd


def test_a_refusal_says_why_and_never_the_device_code():
    refused = judge_codes(
        answer({"error": "invalid_client", "error_description": f"no {CODE}", "device_code": CODE}, 400),
        operator=False,
        now=0.0,
    )
    assert isinstance(refused, Refusal)
    assert refused.verdict is Verdict.CONFIGURATION
    assert CODE not in refused.text
    for broken in (answer(b"<html>"), answer(ANSWER, 503), answer(ANSWER, 302), answer([1]), answer(b"{", 429)):
        found = judge_codes(broken, operator=False, now=0.0)
        assert isinstance(found, Refusal), broken
        assert found.verdict is Verdict.LATER
    assert isinstance(judged(400), Refusal)


@pytest.mark.requirement("G-02", "G-03")
def test_each_answer_to_a_poll_has_one_meaning():
    def meant(members: object, status: int = 400) -> Poll:
        found = judge_token(answer(members, status), expected=Expected(), now=0.0, secrets=[Secret(CODE)])
        assert isinstance(found, Refusal)
        return judge_poll(found)

    assert meant({"error": "authorization_pending"}) is Poll.PENDING
    assert meant({"error": "authorization_pending"}, 200) is Poll.PENDING  # GitHub's way
    assert meant({"error": "slow_down"}) is Poll.SLOWER
    assert meant({"error": "access_denied"}) is Poll.DENIED
    assert meant({"error": "authorization_declined"}) is Poll.DENIED
    assert meant({"error": "expired_token"}) is Poll.EXPIRED
    assert meant({"error": "invalid_grant"}) is Poll.REFUSED
    assert meant({"error": "invalid_client"}, 401) is Poll.CONFIGURATION
    assert meant({"error": "authorization_pending"}, 503) is Poll.LATER
    assert meant(b"{", 200) is Poll.LATER


@pytest.mark.requirement("G-02", "G-04")
def test_the_pace_slows_for_good_when_asked_and_for_a_while_when_nothing_comes():
    pace, pause = Pace(interval=5).after(Poll.PENDING)
    assert (pace.interval, pause) == (5, 5)
    pace, pause = pace.after(Poll.SLOWER)
    assert (pace.interval, pause) == (10, 10)
    pace, pause = pace.after(Poll.SLOWER)
    assert pace.after(Poll.PENDING)[1] == 15  # all later ones
    pauses = []
    for _ in range(8):
        pace, pause = pace.after(Poll.LATER)
        pauses.append(pause)
    assert pauses == [30, 60, 120, 240, 300, 300, 300, 300]
    assert pace.after(Poll.PENDING) == (Pace(interval=15), 15)
    assert Pace(interval=1).after(Poll.LATER, asked=40)[1] == 40
    assert Pace(interval=30).after(Poll.LATER, asked=2)[1] == 60
