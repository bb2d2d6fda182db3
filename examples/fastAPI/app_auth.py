"""Seed 003: a shop's API with a chat, and every kind of credential that a tool call may need.

    python examples/fastAPI/app_auth.py

Then open http://localhost:8000 in a browser. It needs no account and no model: without a model of yours it answers by
plain rules (``BEDROCK_MODEL_ID`` names one). All credentials below are for show. Keep yours out of a program's text.
"""

import hashlib
import json
import os
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Annotated
from urllib.error import HTTPError
from urllib.request import Request as Fetch
from urllib.request import urlopen

import uvicorn
from fastapi import Depends, FastAPI, Form, Header, HTTPException, Path as InPath, Query, Response, Security
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.responses import RedirectResponse
from fastapi.security import (
    APIKeyHeader,
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
    OAuth2,
    OAuth2AuthorizationCodeBearer,
)
from starlette.requests import HTTPConnection, Request

from valetkey import add_bedrock_chat, mount_valetkey
from valetkey.testing.oauth_server import Client, OAuthServer

HERE = Path(__file__).resolve().parent

# Who may do what here. In your app these are rows of your database.
TOKENS = {"demo-token-of-ada": "Ada", "your-api-token": "Sam"}
PASSWORDS = {"demo": "demo-password"}
API_KEY = "demo-api-key"
CLIENTS = {"demo-client": "demo-client-secret"}
PARTNERS = {"demo-partner": "demo-partner-key"}
VISITOR = "shop_visitor"  # the cookie of whoever looks at the shop

ORDERS = {
    "A-17": {"for": "Ada", "item": "Espresso machine", "state": "on its way"},
    "A-21": {"for": "Ada", "item": "Coffee beans, 2 kg", "state": "packed"},
    "A-30": {"for": "Sam", "item": "Tea pot", "state": "delivered"},
}

QUESTIONS = (
    "Which products are there?",
    "What have I ordered?",
    "What are the 2 newest messages in my mailbox?",
    "Which headers did you get?",
)

TRY = """
  The chat is at {base}

  Ask it, or press one of its prompts. In Sign in, choose a kind, and give it what this shop knows:

    Bearer token     demo-token-of-ada                  What have I ordered?
                                                        Cancel order A-21 (you are asked first)
    Basic auth       demo, demo-password                Show my invoices
    API key          demo-api-key                       How many kettles are in stock?
    OAuth2           demo-client, demo-client-secret,   Give me the sales report
                     {base}/oauth/token
    Custom headers   X-Partner: demo-partner            Show the partner prices
                     X-Partner-Key: demo-partner-key

  Without signing in:                                   Which products are there?
  With your own account, connected on the way:          What are the 2 newest messages in my mailbox?
  A credential that comes back is starred out:          Which headers did you get?
  A call in your own words:                             CALL list_orders {{}}

  Ctrl-C ends it.
"""

# --- The API: each route says by itself what it wants, and the chat follows that. ---------------------------------

bearer = HTTPBearer()
basic = HTTPBasic()
api_key = APIKeyHeader(name="X-API-Key")
client_credentials = OAuth2(
    flows=OAuthFlows(
        clientCredentials=OAuthFlowClientCredentials(
            tokenUrl="/oauth/token", scopes={"reports:read": "Read the reports"}
        )
    ),
    scheme_name="ShopOAuth2",
)
acme_mail = OAuth2AuthorizationCodeBearer(
    authorizationUrl="/", tokenUrl="/", scopes={"mail.read": "Read your messages"}, scheme_name="AcmeMail"
)

issued: dict[str, float] = {}  # access tokens for clients, and when each ends


def same(given: str, expected: str) -> bool:
    """Whether two secrets are the same, in constant time."""
    return secrets.compare_digest(given.encode(), expected.encode())


def refuse(what: str) -> HTTPException:
    return HTTPException(401, what)


def user(shown: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    """Whose bearer token that is."""
    for token, name in TOKENS.items():
        if same(shown.credentials, token):
            return name
    raise refuse("This shop does not know that bearer token")


def make_app(base: str, *, mail_url: str, client_id: str, client_secret: str) -> FastAPI:
    """The shop with its chat.

    Args:
        base: where browsers find it.
        mail_url: where Acme Mail is.
        client_id, client_secret: as whom the shop is registered there.
    """
    app = FastAPI(title="Corner shop", generate_unique_id_function=lambda route: route.name)

    @app.get("/api/products", openapi_extra={"security": []})
    def list_products() -> list[dict[str, object]]:
        """Which products there are, with their prices. Public: no credential is sent."""
        return [{"product": "Espresso machine", "price": 249}, {"product": "Kettle", "price": 39}]

    @app.get("/api/me")
    def get_user_data(name: Annotated[str, Depends(user)]) -> dict[str, object]:
        """Get my user data: name and how many orders."""
        return {"name": name, "orders": sum(each["for"] == name for each in ORDERS.values())}

    @app.get("/api/orders")
    def list_orders(name: Annotated[str, Depends(user)]) -> dict[str, list[dict[str, str]]]:
        """List what I have ordered, and where my orders are."""
        own = {key: row for key, row in ORDERS.items() if row["for"] == name}
        return {"orders": [{"order": key, "item": row["item"], "state": row["state"]} for key, row in own.items()]}

    @app.post("/api/orders/{order}/cancel", openapi_extra={"x-requires-approval": True})
    def cancel_order(
        order: Annotated[str, InPath(description="the order's number, such as A-21")],
        name: Annotated[str, Depends(user)],
    ) -> dict[str, str]:
        """Cancel an order. The person is asked first, each time."""
        if order not in ORDERS or ORDERS[order]["for"] != name:
            raise HTTPException(404, f"You have no order {order}")
        ORDERS[order]["state"] = "cancelled"
        return {"order": order, "state": "cancelled"}

    @app.get("/api/invoices")
    def list_invoices(shown: Annotated[HTTPBasicCredentials, Depends(basic)]) -> dict[str, list[dict[str, object]]]:
        """Show invoices. The bookkeeping is old: it wants a name and a password."""
        if not same(shown.password, PASSWORDS.get(shown.username, secrets.token_hex())):
            raise refuse("Wrong name or password")
        return {"invoices": [{"invoice": "2026-031", "amount": 288}]}

    @app.get("/api/stock/{product}")
    def check_stock(product: str, shown: Annotated[str, Security(api_key)]) -> dict[str, object]:
        """How many of a product are in stock."""
        if not same(shown, API_KEY):
            raise refuse("This shop does not know that API key")
        return {"product": product, "in_stock": 12}

    @app.get("/api/reports/sales")
    def sales_report(shown: Annotated[str, Security(client_credentials, scopes=["reports:read"])]) -> dict[str, object]:
        """Give the sales report."""
        if issued.get(shown.removeprefix("Bearer "), 0.0) < time.time():
            raise refuse("That access token is not good here")
        return {"week": 47, "sales": 31, "best": "Kettle"}

    @app.get("/api/partner/prices", openapi_extra={"x-auth-type": "custom"})
    def partner_prices(
        x_partner: Annotated[str, Header(include_in_schema=False)] = "",
        x_partner_key: Annotated[str, Header(include_in_schema=False)] = "",
    ) -> dict[str, object]:
        """Show the prices for partners, who bring two headers of our own making."""
        if not same(x_partner_key, PARTNERS.get(x_partner, secrets.token_hex())):
            raise refuse("Partners bring X-Partner and X-Partner-Key")
        return {"prices": [{"product": "Kettle", "price": 31}]}

    @app.get("/api/mailbox")
    def newest_messages(
        shown: Annotated[str, Security(acme_mail, scopes=["mail.read"])],
        limit: Annotated[int, Query(description="how many, at most", ge=1, le=20)] = 3,
    ) -> object:
        """List the newest messages in my mailbox, which is my own account at Acme Mail."""
        request = Fetch(f"{mail_url}/api/mail?limit={limit}")
        request.add_header("Authorization", f"Bearer {shown}")
        try:
            with urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except HTTPError as error:  # a 401 that is handed on has the token renewed, and the call made once more
            raise HTTPException(error.code, "Acme Mail does not give the messages") from error

    @app.get("/api/echo")
    def echo_headers(request: Request) -> dict[str, str]:
        """Which headers did you get? A careless route: it sends back what it was sent, credentials and all."""
        return dict(request.headers)

    @app.get("/api/admin/customers")
    def list_customers() -> list[str]:
        """List all customers. ``excluded_paths`` keeps it out of the chat."""
        return sorted({row["for"] for row in ORDERS.values()})

    @app.post("/oauth/token", include_in_schema=False)
    def token(
        grant_type: Annotated[str, Form()],
        client_id: Annotated[str, Form()] = "",
        client_secret: Annotated[str, Form()] = "",
    ) -> Response:
        """The token endpoint for clients (RFC 6749, section 4.4)."""
        if grant_type != "client_credentials" or not same(client_secret, CLIENTS.get(client_id, secrets.token_hex())):
            return Response('{"error":"invalid_client"}', 401, media_type="application/json")
        made = secrets.token_urlsafe(32)
        issued[made] = time.time() + 600
        answer = {"access_token": made, "token_type": "Bearer", "expires_in": 600, "scope": "reports:read"}
        return Response(json.dumps(answer), media_type="application/json", headers={"Cache-Control": "no-store"})

    # --- The chat. ------------------------------------------------------------------------------------------------

    @app.get("/", include_in_schema=False)
    def home(request: Request) -> Response:
        """Know the visitor again, and open the chat."""
        answer = RedirectResponse("/bedrock-chat/ui", 303)
        if VISITOR not in request.cookies:
            answer.set_cookie(VISITOR, secrets.token_urlsafe(32), max_age=86_400, httponly=True, samesite="lax")
        return answer

    mount_valetkey(
        app,
        public_base_url=base,
        provider_paths=[str(HERE)],
        auth={
            "acme_mail": {
                "client_id": client_id,
                "client_secret": client_secret,
                "authorize_url": f"{mail_url}/authorize",
                "token_url": f"{mail_url}/token",
                "revoke_url": f"{mail_url}/revoke",
            }
        },
    )
    app.state.chat = add_bedrock_chat(
        app,
        enable_tool_auth=True,
        supported_auth_types=["bearer_token", "basic_auth", "api_key", "oauth2", "custom"],
        excluded_paths=["/api/admin"],
        # The routes of this scheme take no credential of the session, but the person's own account at that provider.
        scheme_providers={"AcmeMail": "acme_mail"},
        # Token URLs are public https addresses; this one, on this machine, is allowed by name.
        token_url_hosts=[base.partition("://")[2]],
        auth_dependency=visitor,
        ui_title="Corner shop",
        ui_welcome_message="Ask about products, your orders, or your mailbox.",
        preset_prompts=[{"label": each, "template": each} for each in QUESTIONS],
    )
    return app


def visitor(connection: HTTPConnection) -> str:
    """Who is at the other end: the chat keeps connected accounts by it. Put your app's own sign-in here.

    A visitor is whoever has the cookie; a program without one is somebody new each time. A dependency that gives
    nobody, or raises 401, lets nobody in.
    """
    known = connection.cookies.get(VISITOR) or secrets.token_urlsafe(32)
    return f"visitor {hashlib.sha256(known.encode()).hexdigest()[:16]}"


def main() -> None:
    """Start Acme Mail, which stands in for a provider of accounts, and the shop."""
    port = int(os.environ.get("PORT", "8000"))
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError:
        sys.exit(f"Port {port} is taken. Choose another: PORT={port + 1} python examples/fastAPI/app_auth.py")
    base = f"http://localhost:{port}"
    shop = Client(id="corner-shop", secret=secrets.token_urlsafe(24), title="The corner shop")
    with OAuthServer([shop], title="Acme Mail", scopes={"mail.read": "Read your messages"}) as mail:
        app = make_app(base, mail_url=mail.url, client_id=shop.id, client_secret=shop.secret or "")
        print(TRY.format(base=base), flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    main()
