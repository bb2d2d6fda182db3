"""What a host program puts in place: how it is called, what its answers become, and what it cannot do."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.services.kit import ROOT_TOKEN, Place
from valetkey.errors import CouldNotTell, Denied, InvalidArguments, InvalidSetting, Unauthenticated
from valetkey.identity import running
from valetkey.identity.plugin import REFUSED
from valetkey.identity.running import _parse_token, parse_token
from valetkey.model.caller import Caller
from valetkey.model.calls import BEARER, Presented
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo, UserPermission, create_scope
from valetkey.secret import Secret

TOKEN = "opaque-9f8e7d6c5b"
GUEST = {"id": "guest", "roles": []}


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place(deadline=5.0)
    made.open()
    yield made
    made.end()


async def asked(place: Place, parser: Any, token: str = TOKEN) -> Caller:
    await place.plugin.register_auth_service(parse_token=parser)
    return await place.identify(token)


async def as_user(token: str) -> UserInfo:
    return UserInfo(id="guest", roles=["r"], expires_at=1_750_000_100)


def in_thread(token: str) -> dict[str, Any]:
    assert threading.current_thread() is not threading.main_thread()
    return GUEST


class Parser:
    async def __call__(self, token: str) -> Any:
        return GUEST


@pytest.mark.requirement("seed004.parse-token", "seed004.bp-async", "d22.answers", "d23.parse-token")
@pytest.mark.parametrize("parser", [as_user, in_thread, Parser(), partial(as_user)])
async def test_a_parser_may_be_any_kind_of_function(place: Place, parser):
    caller = await asked(place, parser)
    assert (caller.principal, caller.how) == (("custom", "guest"), "custom")
    assert caller.user is not None
    assert caller.user.check_permission("ws-user-guest", UserPermission.admin)


@pytest.mark.requirement("seed004.parse-token", "seed004.bp-errors")
@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("Token expired"), "Token expired"),
        (ValueError("no answer from http://me:pw@db/"), "no answer from http://***@db/"),
        (ValueError(f"no such token: {TOKEN}"), REFUSED),
        (ValueError(f"no such token: {TOKEN[4:14]}"), REFUSED),
        (ValueError(TOKEN[:4]), REFUSED),
        (ValueError("two\nlines"), REFUSED),
        (ValueError("long " * 100), REFUSED),
        (ValueError(), REFUSED),
        (RuntimeError("postgres://user:password@host"), REFUSED),
        (PermissionError("x"), REFUSED),
        (SystemExit(1), REFUSED),
        (KeyboardInterrupt(), REFUSED),
        (StopIteration(), REFUSED),
        (TimeoutError(), REFUSED),
        (asyncio.CancelledError(), REFUSED),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_whatever_a_parser_raises_is_a_401(place: Place, error, shown, kind, caplog):
    def fails(token):
        raise error

    async def fails_later(token):
        raise error

    with pytest.raises(Unauthenticated) as caught:
        await asked(place, fails if kind == "sync" else fails_later)
    assert str(caught.value) == shown
    assert TOKEN not in caplog.text
    assert "password" not in caplog.text


def itself() -> Any:
    class Endless:
        def __await__(self):
            return self
            yield

    return Endless()


@pytest.mark.requirement("seed004.ts-parser", "d22.answers")
@pytest.mark.parametrize(
    "value",
    [
        True,
        "guest",
        7,
        [GUEST],
        {},
        {"id": "guest"},
        {"id": "", "roles": []},
        UserInfo.model_construct(id=5, roles=[]),  # type: ignore[arg-type]
        itself(),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_answer_that_is_no_user_is_a_401_and_one_line(place: Place, value, caplog):
    def odd(token):
        return value

    with caplog.at_level(logging.WARNING), pytest.raises(Unauthenticated, match="not accepted"):
        await asked(place, odd)
    (record,) = caplog.records
    assert "odd" in record.getMessage()
    assert TOKEN not in caplog.text


async def test_a_parser_whose_classes_break_is_a_401(place: Place):
    class Odd(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Other(UserInfo):
        def model_dump(self, **_: Any) -> dict[str, Any]:
            raise KeyError("id")

    def raises(token):
        raise Odd

    for parser in (raises, lambda token: Other(id="guest", roles=[])):
        place.plugin.set_parse_token_function(parser)
        with pytest.raises(Unauthenticated, match="not accepted"):
            await place.identify(TOKEN)


@pytest.mark.requirement("seed004.bp-async", "d22.answers")
async def test_a_parser_that_takes_too_long_is_a_401_and_one_line(caplog):
    place = Place(deadline=0.05)
    place.open()
    release = threading.Event()

    def slow(token):
        release.wait(10)
        return GUEST

    async def slow_too(token):
        await asyncio.Event().wait()

    for parser in (slow, slow_too):
        caplog.clear()
        place.plugin.set_parse_token_function(parser)
        began = time.monotonic()
        with pytest.raises(Unauthenticated):
            await place.identify(TOKEN)
        assert time.monotonic() - began < 2
        (record,) = caplog.records
        assert f"{parser.__name__} took more than 0.05 s" in record.getMessage()
    release.set()
    place.end()


@pytest.mark.requirement("d22.order")
async def test_parsers_are_asked_in_order_and_a_refusal_is_final(place: Place):
    seen = []

    def first(token):
        seen.append("first")
        if token.startswith("bad"):
            raise ValueError("no")
        return GUEST if token.startswith("one") else None

    def second(token):
        seen.append("second")
        return {"id": "second", "roles": []}

    await place.plugin.register_auth_service(parse_token=first)
    assert (await asked(place, second, "one-token")).owner.subject == "guest"
    assert (await place.identify("two-token")).owner.subject == "second"
    with pytest.raises(Unauthenticated):
        await place.identify("bad-token")
    assert seen == ["first", "first", "second", "first"]


@pytest.mark.requirement("seed004.bp-fallback")
async def test_falling_back_to_us_for_a_token_that_we_do_not_know_asks_the_next(place: Place):
    async def first(token):
        return _parse_token(token)

    await place.plugin.register_auth_service(parse_token=first)
    assert (await asked(place, lambda token: GUEST)).owner.subject == "guest"


@pytest.mark.requirement("seed004.bp-fallback")
async def test_falling_back_to_us_for_a_bad_token_of_ours_asks_nobody_else(place: Place):
    """A-11: what its own verifier refused is not offered to a weaker one."""
    seen = []

    def weak(token):
        seen.append(token)
        return GUEST

    token = await place.access()
    await place.plugin.register_auth_service(parse_token=_parse_token, exclusive=True)
    await place.plugin.register_auth_service(parse_token=weak)
    for bad in (f"{token[:-4]}AAAA", "vk_AAAAAAAAAAAAAAAAAAAAAA_wrong"):
        with pytest.raises(Unauthenticated):
            await place.identify(bad)
    assert seen == []


@pytest.mark.requirement("d22.order")
async def test_ours_are_not_shown_to_a_parser(place: Place):
    seen: list[str] = []
    assert (await asked(place, seen.append, await place.access())).how == "access"
    assert (await place.identify(ROOT_TOKEN)).how == "root"
    assert seen == []


@pytest.mark.requirement("d22.exclusive", "C6.register")
async def test_an_exclusive_parser_is_asked_alone(place: Place):
    token = await place.access()
    await place.identify(token)
    await place.plugin.register_auth_service(parse_token=lambda text: GUEST if text == TOKEN else None, exclusive=True)
    with pytest.raises(Unauthenticated, match="Nobody here knows"):
        await place.identify(token)
    assert (await place.identify(TOKEN)).owner.subject == "guest"
    session, _ = await place.signed_in()
    assert (await place.identify(session, scheme="session")).how == "session"


@pytest.mark.requirement("seed004.bp-fallback")
async def test_a_user_handed_on_from_us_stays_who_it_is(place: Place):
    async def parser(token):
        user = await parse_token(f"Bearer {token}")
        user.roles.append("added")
        return user

    token = await place.access()
    plain = await place.plain.identify(presented(token))
    await place.plugin.register_auth_service(parse_token=parser, exclusive=True)
    caller = await place.identify(token)
    assert (caller.principal, caller.token, caller.until, caller.how) == (
        plain.principal,
        plain.token,
        plain.until,
        "access",
    )
    assert caller.user is not None
    assert caller.user.roles == ["added"]
    assert plain.user is not None
    assert plain.user.roles == [], "what a parser does to its copy is not remembered"
    await place.tokens.revoke(caller, caller.token)
    with pytest.raises(Unauthenticated):
        await place.identify(token)


def presented(token: str) -> Presented:
    return Presented(scheme=BEARER, value=Secret(token))


@pytest.mark.parametrize("name", ["local|ada", "root", "local|", "a\nb", " a", "a\x00"])
async def test_a_parsers_user_cannot_be_one_of_ours(place: Place, name):
    with pytest.raises(Unauthenticated, match="cannot be one of its own"):
        await asked(place, lambda token: {"id": name, "roles": []})


@pytest.mark.parametrize("name", ["local|ada", "root"])
async def test_a_user_handed_on_from_us_cannot_become_another_of_ours(place: Place, name):
    async def parser(token):
        user = await parse_token(token)
        user.id = name
        return user

    token = await place.access("eve")
    await place.plugin.register_auth_service(parse_token=parser, exclusive=True)
    with pytest.raises(Unauthenticated, match="cannot be one of its own"):
        await place.identify(token)


@pytest.mark.requirement("seed004.bp-expiration")
async def test_a_parsers_user_ends_with_its_own_end(place: Place):
    assert (await asked(place, as_user)).until == 1_750_000_100
    place.clock.advance(100)
    with pytest.raises(Unauthenticated, match="has expired"):
        await place.identify(TOKEN)


async def test_a_parsers_token_can_be_revoked_by_its_text(place: Place):
    await asked(place, lambda token: {"id": "guest", "roles": ["admin"]})
    root = await place.identify(ROOT_TOKEN)
    await place.tokens.revoke_text(root, TOKEN)
    with pytest.raises(Unauthenticated, match="revoked"):
        await place.identify(TOKEN)


@pytest.mark.requirement("d23.parse-token")
async def test_parse_token_in_a_thread_waits_and_gives_the_user(place: Place):
    token = await place.access()
    user = await asyncio.to_thread(parse_token, token)
    assert (user.id, user._principal) == ("local|ada", ("valetkey", "local|ada"))
    with pytest.raises(Unauthenticated):
        await asyncio.to_thread(_parse_token, "unknown")


@pytest.mark.parametrize("workspace", ["ws-user-local|bob", "*"])
async def test_parse_token_refuses_one_for_another_workspace(place: Place, workspace):
    token = await place.access()
    assert (await parse_token(token, "ws-user-local|ada")).id == "local|ada"
    with pytest.raises(Denied) as caught:
        await parse_token(token, expected_workspace=workspace)
    assert str(caught.value) == f"Token is not authorized for workspace '{workspace}'"


async def test_two_servers_in_one_process_are_each_asked_by_their_own_parsers(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    for each in running._RUNNING[:-1]:  # apps of other tests may not have been told to end
        monkeypatch.setattr(each, "alive", lambda: False)
    other = Place()
    other.open()
    _, ada = await place.signed_in()
    assert ada.user is not None
    key, _ = await place.tokens.issue(TokenKind.API_KEY, ada.user, ada.owner)
    token = key.reveal()
    await place.plugin.register_auth_service(parse_token=_parse_token, exclusive=True)
    assert (await place.identify(token)).owner.subject == "local|ada"
    with pytest.raises(Unauthenticated):
        await parse_token(token)
    other.end()
    assert (await parse_token(token)).id == "local|ada", "the one that still runs"
    place.end()
    with pytest.raises(CouldNotTell, match="No Valetkey server runs"):
        parse_token(token)


@pytest.mark.requirement("seed004.ts-signature", "d22.signature")
@pytest.mark.parametrize(
    ("part", "function", "expected"),
    [
        ("parse_token", lambda: 0, "parse_token(token)"),
        ("parse_token", lambda token, other: 0, "parse_token(token)"),
        ("parse_token", "text", "parse_token(token)"),
        ("generate_token", lambda user: "", "generate_token(user_info, expires_in)"),
        ("get_token", lambda: "", "get_token(scope)"),
        ("index_handler", lambda: "", "index(event)"),
        ("start_handler", lambda: "", "start(workspace=None, expires_in=None)"),
        ("check_handler", lambda key: "", "check(key, timeout=180, profile=False)"),
        ("report_handler", lambda key: "", "report(key, token, **kwargs)"),
        ("login_service", {"check": lambda key: ""}, "check(key, timeout=180, profile=False)"),
        ("login_service", {"hello": 5}, "hello"),
        ("parse_tokens", lambda token: 0, "Did you mean parse_token?"),
        ("exclusive", True, "give parse_token with it"),
    ],
)
async def test_a_handler_that_cannot_be_called_is_refused_when_registered(place: Place, part, function, expected):
    with pytest.raises(InvalidArguments) as caught:
        await place.plugin.register_auth_service(**{part: function})
    assert expected in str(caught.value)
    with pytest.raises(Unauthenticated, match="Nobody here knows"):
        await place.identify(TOKEN)


@pytest.mark.requirement("seed004.login-service")
async def test_handlers_by_themselves_go_before_a_login_service(place: Place):
    async def one(key, timeout=180, profile=False):
        return 1

    async def two(key, timeout=180, profile=False):
        return 2

    given = await place.plugin.register_auth_service(login_service={"check": one, "a": one}, check_handler=two, b=one)
    assert given == {"check": two, "a": one, "b": one}
    assert await place.plugin.register_auth_service(parse_token=lambda token: None) is None


@pytest.mark.requirement("seed004.get-token", "C6.register")
async def test_get_token_finds_the_token(place: Place):
    def find(scope):
        return dict(scope["headers"]).get(b"x-token", b"").decode()

    assert await place.plugin.get_token({}) is None
    assert not place.plugin.finds
    await place.plugin.register_auth_service(get_token=find)
    assert place.plugin.finds
    assert await place.plugin.get_token({"headers": [(b"x-token", b"abc")]}) == "abc"
    assert await place.plugin.get_token({"headers": []}) is None
    with pytest.raises(Unauthenticated):
        await place.plugin.get_token({})
    place.plugin.set_get_token_function(lambda scope: 5)
    with pytest.raises(Unauthenticated):
        await place.plugin.get_token({})


@pytest.mark.requirement("seed004.generate-token")
@pytest.mark.parametrize("made", ["", "two words", 5, None, "é", "x" * 5000, "a\nb"])
async def test_a_generator_that_gives_no_token_is_told(place: Place, made):
    _, ada = await place.signed_in()
    assert ada.user is not None
    await place.plugin.register_auth_service(generate_token=lambda user, expires_in: made)
    with pytest.raises(InvalidSetting):
        await place.plugin.generate(ada.user, 60, owner=ada.owner)


@pytest.mark.requirement("seed004.generate-token")
async def test_what_a_generator_is_given_is_a_copy(place: Place):
    _, ada = await place.signed_in()
    assert ada.user is not None

    def generate(user, expires_in):
        user.roles.append("admin")
        user.scope = create_scope("*#a")
        return f"made-for-{expires_in}"

    await place.plugin.register_auth_service(generate_token=generate)
    assert await place.plugin.generate(ada.user, 60.9, owner=ada.owner) == "made-for-60"
    assert ada.user.roles == []
