"""jwt, jwt-again: the tokens of both, of 1 KB each, and the results as rows."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import place
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from results import ROUNDS, Part, Row

ISSUER, AUDIENCE, NAMESPACE = "https://issuer.test/", "https://api.issuer.test", "https://ns.issuer.test/"
COUNT = 2_000
"""Different tokens in each round: none is presented twice where ours would remember it."""

SIZE = 1_024
"""Characters of a token."""

Ask = Callable[[str, str, str], float]
"""Which peer, which algorithm, where the tokens are: checks per second."""


@contextmanager
def made(*, count: int) -> Iterator[str]:
    """A file of tokens and keys, by algorithm."""
    pair = {
        "RS256": RSAKey.import_key(rsa.generate_private_key(65_537, 2048)),
        "ES256": ECKey.import_key(ec.generate_private_key(ec.SECP256R1())),
    }
    with TemporaryDirectory() as folder:
        told = {"issuer": ISSUER, "audience": AUDIENCE, "namespace": NAMESPACE}
        for alg, key in pair.items():
            public = key.public_key
            told[alg] = {
                "tokens": [_token(alg, key, number) for number in range(count)],
                "jwk": {**key.as_dict(private=False), "kid": "k-1", "use": "sig", "alg": alg},
                "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            }
        path = Path(folder, "tokens.json")
        path.write_text(json.dumps(told), "utf-8")
        yield str(path)


def _token(alg, key, number: int) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": f"auth0|{number:024x}",
        "aud": [AUDIENCE, "https://issuer.test/userinfo"],
        "iat": now,
        "exp": now + 7200,
        "azp": "bench-client",
        "scope": "openid profile email",
        "jti": f"{number:032x}",
        f"{NAMESPACE}roles": ["editor", "reader"],
        f"{NAMESPACE}email": f"user{number % 100}@example.com",
    }

    def written() -> str:
        text = json.dumps(claims, separators=(",", ":"))
        return jws.serialize_compact({"alg": alg, "typ": "JWT", "kid": "k-1"}, text, key, algorithms=[alg])

    claims["filler"] = "x" * max(0, (SIZE - len(written())) * 3 // 4 - 14)
    return written()


def first_time(ask: Ask, *, small: bool) -> Part:
    """Each token is presented once, and its key is known: who is calling, or for the last two, less."""
    others = {"RS256": ("fastmcp", "hypha", "pyjwt", "bare"), "ES256": ("fastmcp", "pyjwt", "bare")}
    goals = {"fastmcp": 1.5, "hypha": 2.0, ("bare", "RS256"): 0.4, ("bare", "ES256"): 0.6}
    rows = []
    told = place.calm(patience=0 if small else 240)
    with made(count=COUNT // 10 if small else COUNT) as path:
        for alg, peers in others.items():
            met = _around({name: _asking(ask, name, alg, path) for name in ("valetkey", *peers)}, small=small)
            for name in peers:
                goal = goals.get(name) or goals.get((name, alg))
                rows.append(_row(f"jwt, {alg}, beside {name}", met["valetkey"], met[name], goal))
    return Part(rows, notes=[told] if told else [])


def again(ask: Ask, *, small: bool) -> Part:
    """The same token is presented again and again; one that was revoked meanwhile is refused at once."""
    rows = []
    told = place.calm(patience=0 if small else 240)
    with made(count=10) as path:
        for alg in ("RS256", "ES256"):
            peers = {name: _asking(ask, name, alg, path) for name in ("valetkey-again", "fastmcp")}
            met = _around(peers, small=small)
            rows.append(_row(f"jwt-again, {alg}", met["valetkey-again"], met["fastmcp"], 20.0))
    return Part(rows, notes=[told] if told else [])


def _asking(ask: Ask, name: str, alg: str, path: str) -> Callable[[], float]:
    return lambda: ask(name, alg, path)


def _around(peers: Mapping[str, Callable[[], float]], *, small: bool) -> dict[str, float]:
    """A B C A B C …; medians, of all rounds but the first."""
    rounds = 1 if small else ROUNDS
    met: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(rounds + 1):
        print(f"  round {number}/{rounds}", end="\r", flush=True, file=sys.stderr)
        for name, measure in peers.items():
            rate = measure()
            if number:
                met[name].append(rate)
    return {name: statistics.median(rates) for name, rates in met.items()}


def _row(name: str, ours: float, other: float, goal: float | None) -> Row:
    return Row(name, f"{ours:,.0f}/s", f"{other:,.0f}/s", ours / other, goal)
