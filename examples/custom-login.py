"""Seed 004: a login page and a login flow of your own.

    python -m valetkey.server --host=127.0.0.1 --port=9527 --startup-functions=examples/custom-login.py:hypha_startup

It needs one more package: pip install shortuuid
"""

import asyncio
import shortuuid

# Store login sessions
LOGIN_SESSIONS = {}

async def custom_login_page(event):
    """Serve custom login page."""
    return {
        "status": 200,
        "headers": {"Content-Type": "text/html"},
        "body": "<html><body><h1>Custom Login</h1>...</body></html>"
    }

async def start_login(workspace=None, expires_in=None):
    """Start a login session."""
    key = shortuuid.uuid()
    LOGIN_SESSIONS[key] = {"status": "pending", "workspace": workspace}
    return {
        "login_url": f"/public/apps/hypha-login/?key={key}",
        "key": key,
    }

async def check_login(key, timeout=180, profile=False):
    """Check login status."""
    # Wait for login completion
    for _ in range(timeout):
        if key in LOGIN_SESSIONS and LOGIN_SESSIONS[key]["status"] == "complete":
            return LOGIN_SESSIONS[key]["token"]
        await asyncio.sleep(1)
    raise TimeoutError("Login timeout")

async def report_login(key, token, **kwargs):
    """Report login completion."""
    if key in LOGIN_SESSIONS:
        LOGIN_SESSIONS[key]["status"] = "complete"
        LOGIN_SESSIONS[key]["token"] = token

async def hypha_startup(server):
    """Register custom login service."""
    await server.register_auth_service(
        index_handler=custom_login_page,
        start_handler=start_login,
        check_handler=check_login,
        report_handler=report_login,
    )
