"""The real browser: it walks through consent, and nothing that goes amiss on a page escapes it."""

import datetime as dt
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.real import browser as chromium
from tests.real.oidc import Oidc
from valetkey.testing.loopback import Loopback
from valetkey.testing.oauth_server import Client, OAuthServer

pytestmark = pytest.mark.browser

# RFC 7636, Appendix B.
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
PAGE = '<!doctype html><link rel="icon" href="data:,"><title>{0}</title><h1>{0}</h1>{1}'
SCOPES = {"mail.read": "Read your mail", "profile": "See your name and picture"}


def link(url: str, client: str, callback: str, **changes: str) -> str:
    fields = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": callback,
        "state": "some-state",
        "scope": "mail.read profile",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"{url}?{urlencode(fields | changes)}"


@pytest.fixture
def client_app() -> Iterator[Loopback]:
    """The client's own origin, with a page at its callback."""

    async def callback(_: Request) -> Response:
        return HTMLResponse(PAGE.format("Back at the client", ""))

    with Loopback(Starlette(routes=[Route("/callback", callback)]), host="localhost") as running:
        yield running


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    app = Client(id="assistant", secret="not so secret", title="Assistant")
    users = {"first@mail.example": "First account", "second@mail.example": "Second account"}
    with OAuthServer([app], scopes=SCOPES, users=users) as running:
        yield running


async def test_a_person_allows_and_is_back_at_the_client(browser_page, server, client_app):
    await browser_page.goto(link(server.authorize_url, "assistant", f"{client_app.url}/callback"))
    await browser_page.get_by_label("Second account").check()
    await browser_page.get_by_role("button", name="Allow").click()
    await browser_page.get_by_role("heading", name="Back at the client").wait_for()
    said = dict(parse_qsl(urlsplit(browser_page.url).query))
    assert said["code"] == server.codes[0]
    assert said["state"] == "some-state"


async def test_a_person_denies_by_keyboard(browser_page, server, client_app):
    await browser_page.goto(link(server.authorize_url, "assistant", f"{client_app.url}/callback"))
    await browser_page.get_by_role("button", name="Deny").focus()
    await browser_page.keyboard.press("Enter")
    await browser_page.get_by_role("heading", name="Back at the client").wait_for()
    assert "error=access_denied" in browser_page.url


@pytest.mark.parametrize("width", [chromium.PHONE, chromium.DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_consent_page_fits_and_follows_the_scheme(browser, server, width, scheme):
    url = link(server.authorize_url, "assistant", "http://localhost:1/callback")
    async with chromium.opened(browser, width=width, scheme=scheme) as (page, watch):
        await page.goto(url)
        assert await chromium.overflow(page) == 0
        button = await page.get_by_role("button", name="Allow").bounding_box()
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert button is not None
    assert button["height"] >= 44
    red = int(background.removeprefix("rgb(").split(",")[0])
    assert red > 200 if scheme == "light" else red < 60
    assert watch.amiss == []


@pytest.mark.node
async def test_oidc_provider_in_a_browser(browser_page, oidc, client_app):
    callback = f"{client_app.url}/callback"
    oidc.allow(callback)
    wanted = {"scope": "openid offline_access", "prompt": "consent"}
    await browser_page.goto(link(oidc.authorize_url, Oidc.post.id, callback, **wanted))
    await browser_page.get_by_label("User name").fill("somebody")
    await browser_page.get_by_role("button", name="Sign in").click()
    await browser_page.get_by_role("button", name="Allow").click()
    await browser_page.get_by_role("heading", name="Back at the client").wait_for()
    assert "code=" in browser_page.url


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("<script>console.error('wrong')</script>", "console error"),
        ("<script>setTimeout(() => { throw new Error('broken') })</script>", "page error"),
        ("<img src='https://cdn.example/x.png'>", "request to https://cdn.example"),
        ("<script src='/missing.js'></script>", "console error"),
    ],
)
async def test_what_goes_amiss_is_noticed(browser_page, browser_amiss, content, kind):
    async def shown(_: Request) -> Response:
        return HTMLResponse(PAGE.format("A page", content))

    with Loopback(Starlette(routes=[Route("/", shown)])) as app:
        await browser_page.goto(app.url, wait_until="networkidle")
    assert [line for line in browser_amiss if line.startswith(kind)]
    browser_amiss.clear()


async def test_a_certificate_of_our_own_is_taken(browser_page, tmp_path):
    with https_server(tmp_path) as url:
        await browser_page.goto(url)
        assert await browser_page.title() == "Over TLS"


class _TitledPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = PAGE.format("Over TLS", "").encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def https_server(folder: Path) -> Iterator[str]:
    """A page over HTTPS on loopback, with a certificate that nobody vouches for."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(_pair(folder / "pair.pem"))
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _TitledPage)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{running.server_address[1]}/"
    finally:
        running.shutdown()
        thread.join(5)
        running.server_close()


def _pair(path: Path) -> Path:
    """A key and its own certificate for localhost, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(encoding, form, serialization.NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(encoding))
    return path
