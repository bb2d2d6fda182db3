"""The real client's `login()` and `logout()`: reported by a program, and answered by a person."""

# ruff: noqa: T201, BLE001, S310 - a program that prints, and tells of whatever was raised

import asyncio
import json
import sys
import urllib.request

from hypha_rpc import connect_to_server, login, logout

GIVEN = json.loads(sys.argv[1])
SEEN: dict = {}


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


async def report(context):
    """As a program that holds a token completes a login."""
    SEEN.setdefault("context", dict(context))
    about = {"email": "bob@example.com", "name": "Bob"}
    await asyncio.to_thread(post, context["report_url"], {"key": context["key"], "token": GIVEN["token"], **about})


async def ask(context):
    """As a program asks its person."""
    print("OPEN " + json.dumps(dict(context)), flush=True)


async def user_of(token):
    server = await connect_to_server({"server_url": GIVEN["url"], "token": token})
    try:
        return {**server.config.user, "home": server.config.workspace}
    finally:
        await server.disconnect()


async def main():
    about = {"server_url": GIVEN["url"], "login_timeout": 20}
    token = await login({**about, "login_callback": report})
    SEEN["reported"] = await user_of(token)
    SEEN["profile"] = await login({**about, "login_callback": report, "profile": True})
    token = await login({**about, "login_callback": ask})
    SEEN["person"] = await user_of(token)
    token = await login({**about, "login_callback": ask, "workspace": GIVEN["workspace"], "expires_in": 600})
    SEEN["narrowed"] = await user_of(token)
    try:
        await login({**about, "login_callback": ask, "login_timeout": 1})
    except Exception as error:
        SEEN["nobody"] = f"{type(error).__name__}: {error}".strip()
    left = []

    async def leave(context):
        left.append(context["logout_url"])

    SEEN["logout"] = [(await logout({**about, "logout_callback": leave}))["logout_url"], *left]


asyncio.run(main())
print("RESULT " + json.dumps(SEEN))
