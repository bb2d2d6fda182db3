"""Which headers say whose request it is, from where and to where: a proxy's or a server's to set, never a client's.

A call within the process passes no proxy that would overwrite them.
"""

from __future__ import annotations

import re

# How a message is framed, handed on and where it goes; who sent it, by what, and from where.
_NEVER = frozenset(
    """
    accept-encoding alt-svc alt-used cdn-loop client-cert client-cert-chain client-ip connection cookie cookie2 date
    do-connecting-ip early-data expect forwarded forwarded-for forwarded-host forwarded-proto from front-end-https host
    http2-settings keep-alive max-forwards origin referer script-name set-cookie set-cookie2 te trailer
    transfer-encoding upgrade user user-agent via www-authenticate x-anonymous-consumer x-apigateway-api-userinfo
    x-arr-clientcert x-client-cert x-client-dn x-client-host x-client-verified x-client-verify x-coming-from x-email
    x-endpoint-api-userinfo x-forwarded x-groups x-host x-http-host-override x-http-method x-http-method-override
    x-https x-ip x-jwt-assertion x-jwt-claims x-jwt-payload x-method-override
    x-nf-client-connection-ip x-port x-proto x-protocol x-role x-roles x-scheme x-script-name x-server-name x-ssl x-uid
    x-url-scheme x-user x-userid x-userinfo x-username x-waws-unencoded-url
    """.split()  # noqa: SIM905 - a list that people read
)
_NEVER_BEGINNING = (
    *("access-control-", "content-", "fastly-", "fly-", "proxy-", "remote-", "sec-", "ssl-", "tailscale-"),
    *("wl-proxy-", "x-accel-", "x-amzn-mtls-", "x-amzn-oidc-", "x-appengine-", "x-auth-request-", "x-authelia-"),
    *("x-authentik-", "x-azure-", "x-client-cert-", "x-envoy-", "x-forwarded-", "x-goog-authenticated-"),
    *("x-goog-iap-", "x-ms-client-principal", "x-ms-token-", "x-original-", "x-pomerium-", "x-proxy-", "x-remote-"),
    *("x-rewrite-", "x-ssl-", "x-tls-client-", "x-valetkey-", "x-vouch-", "x-webauth-"),
)
# Families in which a credential stands beside what a proxy says of it.
_NEVER_BUT_CREDENTIALS = (
    *("cf-", "x-auth-", "x-authenticated-", "x-consumer-", "x-credential-", "x-forward-auth-", "x-user-"),
)
_CREDENTIAL = re.compile(r"(?:^cf-access-client-id|[-](?:token|key|secret|password|signature))$")
_FROM_WHERE = re.compile(
    r"(?:^|-)(?:client|connecting|originating|peer|proxyuser|real|remote|socket|source|true|user)-?"
    r"(?:ip|ipv6|addr|address)$"
    r"|-forwarded-(?:for|host|proto)$|-(?:authenticated|remote)-user$"
)


def belongs_to_the_request(name: str) -> bool:
    """Whether nobody who only makes a call may set that header; in any case, with underscores as with hyphens."""
    plain = name.lower().replace("_", "-")  # gateways for CGI and WSGI make both the same
    return (
        plain in _NEVER
        or plain.startswith(_NEVER_BEGINNING)
        or (plain.startswith(_NEVER_BUT_CREDENTIALS) and not _CREDENTIAL.search(plain))
        or _FROM_WHERE.search(plain) is not None
    )


_BEARING = frozenset(
    """
    access-token api-key api-token apikey auth-key auth-token authorization client-secret deploy-token job-token
    oauth-token ocp-apim-subscription-key private-token token x-amz-security-token x-authorization
    x-figma-token x-functions-key x-token x-vault-token
    """.split()  # noqa: SIM905 - a list that people read
)
_BEARING_END = ("-access-token", "-api-key", "-api-token", "-apikey", "-auth-key", "-auth-token", "-private-token")


def bears_a_credential(name: str) -> bool:
    """Whether a header, or a field of a query or form, is one that APIs take a credential from (RFC 6750 §2)."""
    plain = name.strip().lower().replace("_", "-")
    return plain in _BEARING or plain.endswith(_BEARING_END)


_TELLING = frozenset(
    """
    allow content-disposition content-language content-type deprecation etag last-modified link location retry-after
    sunset x-accepted-oauth-scopes x-next-page x-oauth-scopes x-page x-per-page x-prev-page x-total x-total-count
    x-total-pages
    """.split()  # noqa: SIM905 - a list that people read
)
_TELLING_BEGINNING = ("ratelimit", "x-ratelimit-", "x-rate-limit-")


def tells_of_the_answer(name: str) -> bool:
    """Whether a header, named in small letters, tells of the answer alone.

    Others speak for the site that gives the answer on, or to the proxy before it: none of an outsider's business.
    """
    return name in _TELLING or name.startswith(_TELLING_BEGINNING)
