"""The visitor does what a browser does with a link: redirects, cookies, forms; on this machine only."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route

from valetkey.errors import InvalidAnswer, InvalidArguments, ProviderUnavailable
from valetkey.testing.loopback import Loopback
from valetkey.testing.oauth_server import OAuthServer
from valetkey.testing.visitor import Visitor

FORM = """<title>T</title><h1>Sign <b>in</b> &amp; go</h1><form action="send?x=1" method="post">
<input name="hidden" value="a&amp;b"><input type="radio" name="user" value="one"><input type="radio" name="user"
value="two" checked><input type="checkbox" name="news"><button name="answer" value="yes">Yes</button></form>
<form action="other"><input name="late" value="1"></form><input name="outside" value="1">"""


async def show(request: Request) -> HTMLResponse:
    page = HTMLResponse(FORM)
    page.set_cookie("browser", "b1", path="/deep")
    page.set_cookie("elsewhere", "e1", path="/other")
    return page


async def send(request: Request) -> RedirectResponse:
    form = (await request.body()).decode()
    cookie = request.headers.get("cookie", "")
    return RedirectResponse(f"/told?form={form.replace('&', '|').replace('%', '~')}&cookie={cookie}", 303)


async def told(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.method} {request.query_params['form']} {request.query_params['cookie']}")


async def circle(request: Request) -> RedirectResponse:
    return RedirectResponse("/circle")


async def away(request: Request) -> RedirectResponse:
    return RedirectResponse("http://mail.example/")


APP = Starlette(
    routes=[
        Route("/deep/form", show),
        Route("/deep/send", send, methods=["POST"]),
        Route("/told", told),
        Route("/circle", circle),
        Route("/away", away),
    ]
)


@pytest.fixture(scope="module")
def url():
    with Loopback(APP) as server:
        yield server.url


def test_a_form_is_sent_as_a_browser_sends_it(url):
    visitor = Visitor()
    page = visitor.open(f"{url}/deep/form")
    assert page.heading == "Sign in & go"
    assert page.fields == {"hidden": "a&b", "user": "two"}
    done = visitor.submit(page, answer="yes")
    assert done.status == 200
    assert done.text == "GET hidden=a~26b|user=two|answer=yes browser=b1"


def test_another_visitor_has_no_cookie_of_the_first(url):
    page = Visitor().open(f"{url}/deep/form")
    assert Visitor().submit(page).text.endswith("user=two ")


def test_a_page_without_a_form_cannot_be_sent(url):
    visitor = Visitor()
    with pytest.raises(InvalidAnswer, match="404"):
        visitor.submit(visitor.open(f"{url}/nowhere"))


def test_a_circle_of_redirects_ends(url):
    with pytest.raises(ProviderUnavailable, match="circle"):
        Visitor().open(f"{url}/circle")


@pytest.mark.parametrize("link", ["http://mail.example/", "https://localhost/", "file:///etc/hosts"])
def test_it_does_not_leave_this_machine(link):
    with pytest.raises(InvalidArguments, match="this machine"):
        Visitor().open(link)


def test_it_is_not_led_away_from_this_machine(url):
    with pytest.raises(InvalidArguments, match=r"mail\.example"):
        Visitor().open(f"{url}/away")


def test_nobody_there_is_told():
    with Loopback(APP) as server:
        gone = server.url
    with pytest.raises(ProviderUnavailable, match="does not answer"):
        Visitor().open(gone)


@pytest.mark.parametrize(("answer", "expected"), [("approve", "code="), ("deny", "error=access_denied")])
def test_it_answers_a_consent_page(url, answer, expected):
    with OAuthServer(require_pkce=False) as server:
        visitor = Visitor()
        page = visitor.open(
            f"{server.authorize_url}?response_type=code&client_id={server.client.id}&redirect_uri={url}/told&state=s"
        )
        assert expected in visitor.submit(page, answer=answer).url
