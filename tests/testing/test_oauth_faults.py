"""The OAuth server that we ship for tests: what goes wrong on demand."""

import http.client
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.real.visitor import post
from tests.testing.oauth_client import CLIENTS, Clock, connected, refresh, refused
from valetkey.errors import InvalidArguments
from valetkey.testing.oauth_server import OAuthServer


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    with OAuthServer(CLIENTS, clock=clock) as running:
        yield running


class TestFaults:
    def test_a_status_with_body_and_headers_comes_as_often_as_said(self, server):
        token = connected(server)["refresh_token"]
        server.fail_next(429, '{"error":"slow_down"}', headers={"retry-after": "7"}, times=2)
        for _ in range(2):
            answer = refresh(server, token)
            assert refused(answer) == (429, "slow_down")
            assert answer.headers["retry-after"] == "7"
        assert refresh(server, token).status == 200

    def test_a_lost_answer_leaves_the_rotation_done(self, server):
        token = connected(server)["refresh_token"]
        server.fail_next(502, processed=True)
        assert refresh(server, token).status == 502
        assert len(server.issued) == 4
        assert refused(refresh(server, token)) == (400, "invalid_grant")

    def test_html_in_place_of_json(self, server):
        server.fail_next(html=True)
        answer = refresh(server, "x")
        assert answer.status == 200
        assert answer.type == "text/html"

    def test_a_dropped_connection_has_no_answer(self, server):
        server.fail_next(drop=True)
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            refresh(server, "x")
        assert refused(refresh(server, "x")) == (400, "invalid_grant")

    def test_a_huge_answer_keeps_coming(self, server):
        server.fail_next(huge=True)
        parts = urlsplit(server.token_url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        connection.request("POST", parts.path, b"", {"content-type": "application/x-www-form-urlencoded"})
        assert len(connection.getresponse().read(3_000_000)) == 3_000_000
        connection.close()

    def test_a_hanging_answer_ends_when_the_server_stops(self):
        server = OAuthServer(CLIENTS)
        with server, ThreadPoolExecutor(1) as pool:
            server.fail_next(hang=True)
            waiting = pool.submit(refresh, server, "x")
            server.wait_requests(1)
            assert not waiting.done()
            server.stop()
            with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
                waiting.result(5)

    def test_another_endpoint_can_fail(self, server):
        server.fail_next(503, at="revoke")
        assert post(server.revoke_url, {"token": "x"}).status == 503
        assert refused(refresh(server, "x")) == (400, "invalid_grant")
        with pytest.raises(InvalidArguments, match="nowhere"):
            server.fail_next(at="nowhere")

    def test_heal_forgets_what_was_not_met(self, server):
        server.fail_next(500, times=9)
        server.heal()
        assert refused(refresh(server, "x")) == (400, "invalid_grant")

    def test_a_pause_holds_answers_until_they_are_let_go(self, server):
        token = connected(server)["refresh_token"]
        server.pause()
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.submit(refresh, server, token), pool.submit(refresh, server, "x")
            server.wait_held(2)
            assert not first.done()
            assert not second.done()
            assert server.refreshes == 2
            server.resume()
            assert sorted((first.result(5).status, second.result(5).status)) == [200, 400]
        with pytest.raises(TimeoutError):
            server.wait_held(1, timeout=0.01)
