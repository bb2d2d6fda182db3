"""What a tool does with what it was lent, a model does not get to see."""

import asyncio
import base64
import dataclasses
import html
import json
import logging
from collections.abc import Callable
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import httpx2
import pytest
from pydantic import BaseModel, PrivateAttr, computed_field

from valetkey import AuthRequired, InvalidSetting, Pocket, ProviderUnavailable, ToolFailed, function_tool


@dataclasses.dataclass
class Told:
    inner: object


class Model(BaseModel):
    inner: Any


class Computed(BaseModel):
    """A model that tells more than its fields."""

    _token: str = PrivateAttr()

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    @computed_field  # type: ignore[prop-decorator]
    @property
    def told(self) -> str:
        return f"it is {self._token}"


def looped(token: str) -> list[Any]:
    """A list that JSON has no form for: it holds itself."""
    held: list[Any] = [Opaque(token)]
    held.append(held)
    return held


class Opaque:
    """An answer of some client, that only its own text tells of."""

    def __init__(self, inner: str) -> None:
        self._inner = inner

    def __str__(self) -> str:
        return f"<answer {self._inner}>"

    __repr__ = __str__


FORMS: dict[str, Callable[[str], Any]] = {
    "raw": str,
    "within text": "before {} after".format,
    "octets": str.encode,
    "base64": lambda token: base64.b64encode(token.encode()).decode(),
    "base64, shifted by one": lambda token: base64.b64encode(b"a" + token.encode()).decode(),
    "base64, shifted by two": lambda token: base64.b64encode(b"me:" + b"a" + token.encode()).decode(),
    "base64, URL-safe": lambda token: base64.urlsafe_b64encode(token.encode()).decode().rstrip("="),
    "URL-encoded": lambda token: quote(token, safe=""),
    "URL-encoded twice": lambda token: quote(quote_plus(token), safe=""),
    "JSON-escaped": json.dumps,
    "JSON in JSON": lambda token: json.dumps(json.dumps({"token": token})),
    "in HTML": html.escape,
    "as repr": repr,
    "hexadecimal": lambda token: token.encode().hex(),
    "hexadecimal, upper case": lambda token: token.encode().hex().upper(),
    "nested": lambda token: {"a": [{"b": (token, {token})}]},
    "as a key": lambda token: {token: "value"},
    "a dataclass": lambda token: Told([Told(token)]),
    "a model": lambda token: Model(inner={"x": Model(inner=token)}),
    "an object": Opaque,
    "objects in a list": lambda token: [{"answer": Opaque(token)}],
    "an exception": lambda token: RuntimeError(f"answer: {token}"),
    "a namespace": lambda token: SimpleNamespace(token=token),
    "a path": lambda token: PurePosixPath("/some/folder") / token,
    "a generator": lambda token: (part for part in [token, token]),
    "a computed field": Computed,
    "octets that change": lambda token: bytearray(token.encode()),
    "an object that holds itself": looped,
}
OPAQUE = {
    "an object",
    "objects in a list",
    "an exception",
    "a namespace",
    "a path",
    "a generator",
    "a computed field",
    "octets that change",
    "an object that holds itself",
}
"""A program that calls its own function gets its own object back; a model gets text."""


class TestTools:
    """What a tool does with what it was lent, a model does not get to see."""

    async def test_a_tool_that_returns_its_token_in_any_form(self, journey):
        def tell(form: str, **kwargs):
            """Tell the token."""
            return FORMS[form](kwargs["CANARY_TOKEN"])

        async def atell(form: str, **kwargs):
            """Tell the token."""
            return FORMS[form](kwargs["CANARY_TOKEN"])

        pocket = Pocket(tools=[journey.tool(tell), journey.tool(atell)])
        await journey.connect(pocket)
        unstarred = []
        for form in FORMS:
            for name in ("tell", "atell"):
                body = {"form": form}
                told = await pocket.ainvoke(name, body)
                if "***" not in told:
                    unstarred.append(form)
                journey.watch.result(form, told)
                journey.watch.result(f"{form}, with state", await pocket.ainvoke_with_state(name, body))
                journey.watch.result(f"{form}, by tool_call", await pocket.tool_call(name, body))
            journey.watch.result(f"{form}, blocking", await asyncio.to_thread(pocket.invoke, "tell", {"form": form}))
        assert unstarred == []
        journey.end()

    async def test_a_plain_call_gives_values_without_the_token(self, journey):
        def tell(form: str, **kwargs):
            """Tell the token."""
            return FORMS[form](kwargs["CANARY_TOKEN"])

        made = journey.tool(tell)
        await journey.connect(Pocket(tools=[made]))
        for form in FORMS.keys() - OPAQUE:
            journey.watch.result(form, await asyncio.to_thread(made, form=form))
        journey.end()

    async def test_a_token_of_an_account_lent_before_in_the_same_conversation(self, journey):
        kept: list[str] = []

        def keep(**kwargs) -> int:
            """Keep the token."""
            kept.append(kwargs["CANARY_TOKEN"])
            return 1

        def tell() -> str:
            """Tell what was kept, without an account of one's own."""
            return f"kept {kept}"

        pocket = Pocket(tools=[journey.tool(keep), function_tool(tell)])
        await journey.connect(pocket)
        await pocket.ainvoke("keep", {})
        told = await pocket.ainvoke("tell", {})
        assert "***" in told
        journey.watch.result("told", told)
        journey.end()

    async def test_an_old_token_that_comes_back_after_the_refresh(self, journey):
        seen: list[str] = []

        def tell(**kwargs) -> list[str]:
            """Tell all tokens so far."""
            seen.append(kwargs["CANARY_TOKEN"])
            if len(seen) == 1:
                raise Unauthorized(f"401 for {seen}")
            return seen

        pocket = journey.pocket(tell)
        await journey.connect(pocket)
        told = await pocket.ainvoke("tell", {})
        assert json.loads(told) == ["***", "***"]
        journey.watch.result("told", told)
        journey.end()


class Unauthorized(Exception):
    """What an HTTP client raises for a 401."""

    status_code = 401


def plain(token: str) -> None:
    raise RuntimeError(f"could not send {token}")


def caused(token: str) -> None:
    try:
        plain(token)
    except RuntimeError as error:
        raise ValueError(f"because of {base64.b64encode(token.encode())!r}") from error


def chained(token: str) -> None:
    try:
        plain(token)
    except RuntimeError:
        raise KeyError(token)  # noqa: B904  # as careless code does


def noted(token: str) -> None:
    error = RuntimeError("look below")
    error.add_note(f"sent {token}")
    raise error


def grouped(token: str) -> None:
    raise ExceptionGroup(f"two with {token}", [RuntimeError(token), ValueError(token)])


def rejected(token: str) -> None:
    raise Unauthorized(f"401 for https://api.example/?key={quote(token)}")


FAILURES = {function.__name__: function for function in (plain, caused, chained, noted, grouped, rejected)}


INVALID_CLIENT = '{"error": "invalid_client"}'


class TestFailures:
    async def test_a_tool_that_raises_with_its_token(self, journey):
        def fail(how: str, **kwargs):
            """Fail."""
            FAILURES[how](kwargs["CANARY_TOKEN"])

        async def afail(how: str, **kwargs):
            """Fail."""
            FAILURES[how](kwargs["CANARY_TOKEN"])

        made, amade = journey.tool(fail), journey.tool(afail)
        pocket = Pocket(tools=[made, amade])
        await journey.connect(pocket)
        for how in FAILURES:
            for name in ("fail", "afail"):
                told = await pocket.ainvoke(name, {"how": how})
                assert told.startswith("There was an error while executing the tool: ")
                journey.watch.result(how, told)
                journey.watch.result(f"{how}, by tool_call", await pocket.tool_call(name, {"how": how}))
            with journey.watch.raising(ToolFailed):
                await asyncio.to_thread(made, how=how)
            with journey.watch.raising(ToolFailed):
                await amade(how=how)
        journey.end()

    @pytest.mark.parametrize(
        "fault", [{"status": 500}, {"drop": True}, {"status": 401, "body": '{"error":"invalid_client"}'}]
    )
    async def test_a_token_that_was_not_taken_while_the_provider_cannot_renew_it(self, journey, fault):
        def fail(**kwargs):
            """Fail with what an HTTP client says of a 401."""
            rejected(kwargs["CANARY_TOKEN"])

        pocket = journey.pocket(fail)
        await journey.connect(pocket)
        journey.server.fail_next(**fault)
        with journey.watch.raising(ProviderUnavailable, InvalidSetting):
            await pocket.ainvoke("fail", {})
        journey.end()

    async def test_a_token_that_was_not_taken_and_whose_consent_is_gone(self, journey):
        def fail(**kwargs):
            """Fail with what an HTTP client says of a 401."""
            rejected(kwargs["CANARY_TOKEN"])

        pocket = journey.pocket(fail)
        await journey.connect(pocket)
        journey.server.revoke_all()
        with journey.watch.raising(AuthRequired):
            await pocket.tool_call("fail", {})
        journey.end()

    async def test_a_tool_that_runs_out_of_time_with_its_token_in_hand(self, journey):
        async def hang(**kwargs):
            """Hang, and complain when it is stopped."""
            token = kwargs["CANARY_TOKEN"]
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise TimeoutError(token) from RuntimeError(token)

        made = journey.tool(hang, deadline=0.05)
        pocket = Pocket(tools=[made])
        await journey.connect(pocket)
        told = await pocket.ainvoke("hang", {})
        journey.watch.result("told", told)
        with journey.watch.raising(ToolFailed):
            await made()
        journey.end()

    async def test_a_tool_that_talks_at_debug_level(self, journey):
        log = logging.getLogger("their.own.tool")

        async def read(**kwargs) -> int:
            """Read mail by a client that logs."""
            token = kwargs["CANARY_TOKEN"]
            log.debug("reading with %d characters", len(token))
            async with httpx2.AsyncClient() as client:
                answer = await client.get(journey.server.mail_url, headers={"Authorization": f"Bearer {token}"})
            log.debug("read %s", answer)
            return answer.status_code

        pocket = journey.pocket(read)
        await journey.connect(pocket)
        assert await pocket.ainvoke("read", {}) == "200"
        assert any("their.own.tool" in line for line in journey.watch.logged)
        assert any("httpcore2" in line for line in journey.watch.logged)
        journey.end()
