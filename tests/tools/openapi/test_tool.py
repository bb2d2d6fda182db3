"""One call: sent once, within its time, to where its document is: rows X-07, X-08, X-18, X-22, X-25."""

import pytest

from tests.tools.openapi.kit import BASE, Remembers, api, bearer, document, json_body, lent, operation, param, sent
from valetkey.errors import ExchangeFailed
from valetkey.ports.world import Response, Trust
from valetkey.tools.openapi.answer import OperationFailed
from valetkey.tools.rejected import Rejection, rejection


class Fails(Remembers):
    def __init__(self, error):
        super().__init__()
        self.error = error

    async def fetch(self, request):
        self.requests.append(request)
        raise self.error


@pytest.mark.requirement("D.time-outs")
async def test_a_request_asks_for_its_beginning_before_the_call_is_out_of_time():
    request = await sent(operation("/x"), {}, deadline=4.0)
    assert request.deadline == pytest.approx(3.8)
    assert request.whole is False
    assert request.trust is Trust.OPERATOR
    assert request.cap == 1_048_576


@pytest.mark.requirement("R-31", "X-22")
@pytest.mark.parametrize(("was_sent", "said"), [(True, "It may have been carried out"), (False, "It was not sent")])
async def test_a_post_that_timed_out_is_not_repeated(was_sent, said):
    exchange = Fails(ExchangeFailed("late", sent=was_sent, late=True))
    tool = operation("/x", "post", about=json_body({}), exchange=exchange)
    with pytest.raises(OperationFailed, match=f"Request timeout: no answer within 5 s. {said}"):
        await tool.run(lent(tool), tool.bind({"body": 1}))
    assert len(exchange.requests) == 1


@pytest.mark.requirement("R-31")
async def test_another_failure_of_the_exchange_is_told_as_it_is():
    exchange = Fails(ExchangeFailed("api.example.com broke off", sent=True))
    tool = operation("/x", exchange=exchange)
    with pytest.raises(ExchangeFailed, match="broke off"):
        await tool.run(lent(tool), tool.bind({}))
    assert len(exchange.requests) == 1


@pytest.mark.requirement("X-17")
async def test_a_remote_401_tells_the_road_where_it_came_from_without_the_query():
    exchange = Remembers(Response(status=401, headers=(("content-type", "application/json"),), body=b'{"detail":"no"}'))
    tool = operation("/x", about={"parameters": [param("q")]}, exchange=exchange)
    with pytest.raises(OperationFailed, match="HTTP 401 Unauthorized: no") as caught:
        await tool.run(lent(tool), tool.bind({"q": "canary"}))
    assert caught.value.url == f"{BASE}/x"
    wrapped = RuntimeError("the road's")
    wrapped.__cause__ = caught.value
    assert rejection(wrapped, frozenset({"https://api.example.com"})) is Rejection.CERTAIN
    assert rejection(wrapped, frozenset({"https://api.github.com"})) is Rejection.NONE
    assert rejection(wrapped, frozenset()) is Rejection.LIKELY


@pytest.mark.requirement("X-07")
async def test_servers_of_a_document_or_an_operation_do_not_move_it():
    elsewhere = [{"url": "https://evil.example"}]
    paths = {"/x": {"servers": elsewhere, "get": {"operationId": "x", "servers": elsewhere}}}
    tool = api(document(paths, servers=elsewhere)).tools()["x"]
    assert (await sent(tool, {}, bearer())).url == f"{BASE}/x"


def test_tools_are_made_anew_only_for_another_document():
    one, two = (document({path: {"get": {"x-requires-approval": True}}}) for path in ("/a", "/b"))
    now = [one]
    offered = api(one)
    offered._document = lambda: now[0]
    first = offered.tools()
    assert offered.tools() is first
    now[0] = two
    assert list(offered.tools()) == ["get_b"]
    assert list(offered.marked) == ["get_b"]


@pytest.mark.requirement("d15.approval")
@pytest.mark.parametrize("mark", ["true", 1, None, "yes", False])
def test_only_true_marks_an_operation(mark):
    assert operation("/x", about={"x-requires-approval": mark}).requires_approval is False


@pytest.mark.requirement("X-25")
def test_methods_that_are_none_are_no_tools():
    given = document({"/x": {"get": {}, "GET\r\nX: y": {}, "trace": {}, "connect": {}, "query": {}, "summary": "s"}})
    assert list(api(given).tools()) == ["get_x"]
