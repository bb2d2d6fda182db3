"""Two servers on one PostgreSQL: a login, a revocation and a limit of one are those of the other."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.real.postgres import Postgres
from tests.server.process import Server, running
from valetkey.testing.visitor import Visitor

PASSWORD = "a long enough password of the first admin"
PUBLIC = "http://127.0.0.1:1"  # where a load balancer would be: both are one issuer
BOUND = 5.0  # seconds within which everybody knows (decision on stops)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def call(server: Server, function: str, bearer: str = "", **arguments: Any) -> tuple[int, Any]:
    """A function of a service of the workspace ``public``."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
    try:
        connection.request("POST", f"/public/services/{function}", json.dumps(arguments), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def confirmed(visitor: Visitor, server: Server, started: Any) -> None:
    """The person says yes to a login, on that server."""
    asked = urlsplit(started["login_url"])
    page = visitor.open(f"{server.url}{asked.path}?{asked.query}")
    assert page.status == 200, page.text
    assert visitor.submit(page, answer="yes").url == f"{server.url}/login/done"


@pytest.mark.requirement(
    "seed004.bp-database", "seed004.bp-balancing", "J-44", "C5.woken", "C7.limits", "C.shown-two-servers"
)
def test_two_servers_are_one(postgres: Postgres) -> None:
    options = [f"--database-uri={postgres.fresh()}", f"--public-base-url={PUBLIC}"]
    visitor = Visitor()
    with ExitStack() as stack:
        one = stack.enter_context(running(*options))
        link = one.line(rf"first admin.* {PUBLIC}(/first-admin/\S+)")[1]
        visitor.submit(visitor.open(f"{one.url}{link}"), name="ada", password=PASSWORD, again=PASSWORD)
        two = stack.enter_context(running(*options))
        assert "first admin" not in two.text
        # A login that is started on one, confirmed on two and asked for on one is one login.
        _, started = call(one, "hypha-login/start")
        confirmed(visitor, two, started)
        status, token = call(one, "hypha-login/check", key=started["key"], timeout=5)
        assert (status, isinstance(token, str)) == (200, True)
        for server in (one, two):
            status, body, _ = server.get("/assets/config.json", token)
            assert (status, json.loads(body)["user"]["is_anonymous"]) == (200, False)
        # A token that is revoked on two is refused on one in time.
        assert call(two, "ws/revoke_token", token, token=token)[0] == 200
        began = time.monotonic()
        while one.get("/assets/config.json", token)[0] != 401:
            assert time.monotonic() - began < BOUND, "it is taken still"
        # Nor does a login end with the server on which it was started.
        _, started = call(one, "hypha-login/start")
        confirmed(visitor, two, started)
        one.process.kill()
        one.ended()
        status, token = call(two, "hypha-login/check", key=started["key"], timeout=5)
        assert (status, two.get("/assets/config.json", token)[0]) == (200, 200)
        assert call(two, "hypha-login/check", key=started["key"], timeout=0)[0] == 400  # used once
        # Failed sign-ins count wherever they are tried.
        three = stack.enter_context(running(*options))
        guesser = Visitor()
        statuses = [
            guesser.submit(guesser.open(f"{server.url}/sign-in"), name="ada", password=f"a guess {number}").status
            for number in range(6)
            for server in (two, three)
        ]
        assert statuses == [401] * 10 + [429] * 2
        assert two.told() == three.told() == 0
