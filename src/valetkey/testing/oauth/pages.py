"""The two pages that a person sees: sign in and consent; what went wrong."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

import jinja2
from markupsafe import Markup
from starlette.responses import HTMLResponse

_STYLE = """
:root{color-scheme:light dark;--page:#f3f4f6;--card:#fff;--ink:#16181d;--soft:#565d6b;--line:#d9dde3;
--mark:#1f5fbf;--on-mark:#fff;--tint:#eaf1fc}
@media(prefers-color-scheme:dark){:root{--page:#111318;--card:#1b1e25;--ink:#eceef2;--soft:#a5adba;
--line:#343944;--mark:#8ab4f8;--on-mark:#0d1626;--tint:#222b3b}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:16px;background:var(--page);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{width:100%;max-width:440px;padding:28px;background:var(--card);border:1px solid var(--line);
border-radius:14px}
header{display:flex;align-items:center;gap:10px;color:var(--soft);font-size:14px}
header span{display:grid;place-items:center;width:32px;height:32px;border-radius:9px;background:var(--mark);
color:var(--on-mark);font-weight:700}
h1{margin:20px 0 8px;font-size:22px;line-height:1.3;overflow-wrap:anywhere;text-wrap:balance}
p{margin:0;color:var(--soft);overflow-wrap:anywhere}
fieldset{margin:22px 0 0;padding:0;border:0}
legend,h2{margin:0 0 8px;padding:0;font-size:14px;font-weight:600}
h2{margin-top:22px}
label{display:flex;align-items:center;gap:12px;padding:10px 12px;border:1px solid var(--line);cursor:pointer}
label:first-of-type{border-radius:10px 10px 0 0}
label:last-of-type{border-radius:0 0 10px 10px}
label:only-of-type{border-radius:10px}
label+label{border-top:0}
label:has(:checked){background:var(--tint)}
input{accent-color:var(--mark);width:18px;height:18px;margin:0}
small{display:block;color:var(--soft);font-size:14px;overflow-wrap:anywhere}
ul{margin:0;padding:0;list-style:none;border:1px solid var(--line);border-radius:10px}
li{padding:10px 12px;overflow-wrap:anywhere}
li+li{border-top:1px solid var(--line)}
.answers{display:flex;gap:12px;margin-top:24px}
button{flex:1;min-height:46px;border:1px solid var(--line);border-radius:10px;background:none;color:inherit;
font:inherit;font-weight:600;cursor:pointer}
button.yes{border-color:var(--mark);background:var(--mark);color:var(--on-mark)}
button:hover{filter:brightness(1.08)}
button:focus-visible,input:focus-visible{outline:3px solid var(--mark);outline-offset:2px}
footer{margin-top:22px;color:var(--soft);font-size:13px}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ heading }} · {{ title }}</title>
<link rel="icon" href="data:,">
<style>{{ style }}</style>
</head>
<body>
<main>
<header><span aria-hidden="true">{{ title[:1] }}</span>{{ title }}</header>
<h1>{{ heading }}</h1>
{% block content %}{% endblock %}
<footer>A server for tests, on this machine. No real account is behind it.</footer>
</main>
</body>
</html>
"""

_CONSENT = """{% extends "shell" %}
{% block content %}
<p>Either answer sends you back to {{ back_to }}.</p>
<form method="post" action="{{ action }}">
<input type="hidden" name="ticket" value="{{ ticket }}">
<input type="hidden" name="csrf" value="{{ csrf }}">
<fieldset>
<legend>Sign in as</legend>
{% for id, name in users.items() %}
<label><input type="radio" name="user" value="{{ id }}" required{{ " checked" if loop.first }}>
<span>{{ name }}<small>{{ id }}</small></span></label>
{% endfor %}
</fieldset>
<h2>It will be able to</h2>
<ul>
{% for scope, text in scopes.items() %}
<li>{{ text or scope }}{% if text %}<small>{{ scope }}</small>{% endif %}</li>
{% else %}
<li>see who you are</li>
{% endfor %}
</ul>
<div class="answers">
<button name="answer" value="deny" id="deny">Deny</button>
<button name="answer" value="approve" id="approve" class="yes">Allow</button>
</div>
</form>
{% endblock %}
"""

_PROBLEM = """{% extends "shell" %}
{% block content %}<p>{{ text }}</p>{% endblock %}
"""

_TEMPLATES = jinja2.Environment(
    autoescape=True,
    trim_blocks=True,
    undefined=jinja2.StrictUndefined,
    loader=jinja2.DictLoader({"shell": _SHELL, "consent": _CONSENT, "problem": _PROBLEM}),
)


def consent(
    *,
    title: str,
    client: str,
    back_to: str,
    users: Mapping[str, str],
    scopes: Mapping[str, str],
    action: str,
    ticket: str,
    csrf: str,
) -> HTMLResponse:
    """Ask who signs in, and whether the client may have what it asks for.

    Args:
        title: what the server calls itself.
        client: what the client is called.
        back_to: the origin of its redirect URI.
        users: accounts to choose from, by id.
        scopes: what is asked for, each with its description, which may be empty.
        action: path that takes the answer.
        ticket: names this question.
        csrf: proves that the answer comes from this page.
    """
    text = _TEMPLATES.get_template("consent").render(
        style=Markup(_STYLE),  # noqa: S704  # a constant of this module
        title=title,
        heading=f"{client} asks for access to your account",
        back_to=back_to,
        users=users,
        scopes=scopes,
        action=action,
        ticket=ticket,
        csrf=csrf,
    )
    # A browser applies form-action to the redirect that answers the form: the client's origin must be in it.
    return _page(text, 200, form_action=("'self'", back_to))


def problem(*, title: str, heading: str, text: str, status: int = 400) -> HTMLResponse:
    """Say what went wrong, where the client's address cannot be trusted enough to send anyone there."""
    style = Markup(_STYLE)  # noqa: S704  # a constant of this module
    page = _TEMPLATES.get_template("problem").render(style=style, title=title, heading=heading, text=text)
    return _page(page, status, form_action=("'none'",))


def _page(text: str, status: int, *, form_action: Sequence[str]) -> HTMLResponse:
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {' '.join(form_action)}"
    )
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return HTMLResponse(text, status, headers)
