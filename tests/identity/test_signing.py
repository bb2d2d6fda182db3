"""Our own access tokens: signed with a key of the vault, verified by anybody with the public half."""

import json
import time
from typing import Any

import jwt as pyjwt
import pytest
from joserfc.jwk import ECKey

from tests.identity.ours_kit import ANN, ISSUER, NAMESPACE, SHARED, Database, Instance, ann
from tests.vault.keys import Given
from valetkey.errors import CouldNotTell, InvalidSetting, KeyUnavailable, Unauthenticated
from valetkey.identity.verifiers.ours import Ours
from valetkey.model.calls import BEARER, Presented
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserPermission
from valetkey.protocol import jwt
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring, Purpose
from valetkey.vault.signing import Signer


def signer(source: Given, secret: Secret | None = None) -> Signer:
    ring = Keyring(source, ticks=lambda: 0.0)
    return Signer(ring, secret=secret, issuer=ISSUER, audience="api", namespace=NAMESPACE)


def minted(clock: ManualClock, secret: Secret = SHARED, **claims: Any) -> str:
    """A token as a tool of seed 004's ecosystem makes it: no jti, no kid."""
    now = int(clock.now())
    body = {
        "iss": ISSUER,
        "sub": "user-1",
        "aud": "api",
        "iat": now,
        "exp": now + 600,
        "scope": "ws:ws-user-user-1#a cid:c1 wid:ws-user-user-1",
        "gty": "client-credentials",
        f"{NAMESPACE}roles": ["dev"],
        f"{NAMESPACE}email": "u@example.org",
        **claims,
    }
    kept = {name: value for name, value in body.items() if value is not None}
    return pyjwt.encode(kept, secret.reveal(), algorithm="HS256")


@pytest.mark.requirement("C3.access")
async def test_a_second_library_verifies_our_token_by_the_published_key():
    instance = Instance(clock=ManualClock(start=time.time()))  # the other library has a clock of its own
    secret, token = await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    keys = pyjwt.PyJWKSet.from_dict(json.loads(json.dumps(instance.signer.jwks())))
    header = pyjwt.get_unverified_header(secret.reveal())
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
    claims = pyjwt.decode(secret.reveal(), keys["k1"], algorithms=["ES256"], audience="api", issuer=ISSUER)
    assert claims == {
        "iss": ISSUER,
        "sub": "ann",
        "aud": "api",
        "iat": int(token.created_at),
        "exp": int(token.created_at) + 3600,
        "jti": token.id,
        "scope": "ws:ws-user-ann#a wid:ws-user-ann",
        "gty": "client-credentials",
        f"{NAMESPACE}roles": [],
        f"{NAMESPACE}email": "ann@example.org",
        f"{NAMESPACE}parent": None,
        f"{NAMESPACE}principal": ["valetkey", "ann"],
    }


def test_the_published_keys_are_public_and_the_newest_is_first():
    source = Given("k2", "k1")
    keys = signer(source).jwks()["keys"]
    assert [key["kid"] for key in keys] == ["k2", "k1"]
    assert all(set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"} for key in keys)
    assert not any(ECKey.import_key({**key}).is_private for key in keys)
    assert signer(source, SHARED).jwks() == {"keys": []}


def test_the_key_is_the_same_after_a_restart_and_on_every_instance():
    assert signer(Given("k1")).jwks() == signer(Given("k1")).jwks() != signer(Given("k2")).jwks()


def test_a_key_for_signing_is_none_for_hashing_or_sealing(monkeypatch):
    asked: list[Purpose] = []
    subkey = Keyring.subkey

    def noted(ring: Keyring, purpose: Purpose, key_id: str) -> bytes:
        asked.append(purpose)
        return subkey(ring, purpose, key_id)

    monkeypatch.setattr(Keyring, "subkey", noted)
    assert signer(Given("k1")).verifying("k1") is not None
    assert asked == [Purpose.SIGN]


def test_a_name_that_is_not_there_has_nothing_read():
    source = Given("k1")
    made = Signer(Keyring(source, ticks=lambda: 0.0), secret=None, issuer=ISSUER, audience="api", namespace="https://x")
    assert made.namespace == "https://x/"
    assert [made.verifying(name) for name in ("k9", "", None, "../k1")] == [None] * 4
    assert source.asked == 1


@pytest.mark.requirement("J-38")
@pytest.mark.parametrize("weak", ["", "secret", "a" * 31])
def test_a_weak_shared_secret_is_refused_at_the_start(weak):
    with pytest.raises(InvalidSetting, match="at least 32"):
        signer(Given("k1"), Secret(weak))


async def test_a_token_lives_on_when_the_vaults_key_is_rotated():
    instance = Instance()
    old, _ = await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    instance.database.keys.add()
    instance.clock.advance(2)
    new, _ = await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    assert [pyjwt.get_unverified_header(each.reveal())["kid"] for each in (old, new)] == ["k1", "k2"]
    assert [(await instance.bearer(each)).owner for each in (old, new)] == [ANN, ANN]


@pytest.mark.requirement("seed004.bp-balancing")
async def test_another_instance_takes_a_token_by_a_key_that_it_has_not_seen_yet():
    clock = ManualClock()
    database = Database(clock)
    one, two = Instance(clock=clock, database=database), Instance(clock=clock, database=database)
    await two.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    database.keys.add()
    clock.advance(1.5)
    new, _ = await one.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    assert pyjwt.get_unverified_header(new.reveal())["kid"] == "k2"
    assert (await two.bearer(new)).owner == ANN


async def test_names_of_keys_that_are_not_there_have_the_vault_read_once_a_second_at_most():
    instance = Instance()
    good, _ = await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    instance.clock.advance(10)
    before = instance.database.keys.asked
    body = json.loads(pyjwt.utils.base64url_decode(good.reveal().split(".")[1]))
    other = signer(Given("forged"))
    for name in ("../../etc/passwd", "' OR 1=1--", "k7", "k8"):
        pair, _ = other._pair("forged")
        forged = jwt.sign(body, pair, alg="ES256", kid=name, typ="at+jwt")
        with pytest.raises(Unauthenticated):
            await instance.bearer(forged)
    assert instance.database.keys.asked == before + 1


async def test_without_any_key_it_cannot_be_told_and_nobody_is_called_a_forger():
    instance = Instance()
    good, _ = await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    fresh = Instance(clock=instance.clock, database=instance.database)
    instance.database.keys.error = KeyUnavailable("the disk is gone")
    with pytest.raises(CouldNotTell):
        await fresh.bearer(good)


@pytest.mark.requirement("seed004.ts-secret", "d20.shared-secret", "C3.hs256")
async def test_a_token_that_another_program_signed_with_the_shared_secret_is_taken():
    instance = Instance(secret=SHARED)
    caller = await instance.bearer(minted(instance.clock))
    assert (caller.owner.issuer, caller.owner.subject, caller.owner.workspace) == (
        "valetkey",
        "user-1",
        "ws-user-user-1",
    )
    assert caller.user is not None
    assert (caller.user.roles, caller.user.email, caller.user.scope and caller.user.scope.client_id) == (
        ["dev"],
        "u@example.org",
        "c1",
    )


@pytest.mark.requirement("d20.shared-secret")
async def test_such_a_token_has_its_own_workspace_and_an_admin_has_all():
    instance = Instance(secret=SHARED)
    plain = await instance.bearer(minted(instance.clock, scope=""))
    admin = await instance.bearer(minted(instance.clock, SHARED, scope="", **{f"{NAMESPACE}roles": ["admin"]}))
    assert plain.user is not None
    assert plain.user.get_permission("ws-user-user-1") is UserPermission.admin
    assert plain.user.get_permission("ws-other") is None
    assert admin.user is not None
    assert admin.user.get_permission("ws-other") is UserPermission.admin


@pytest.mark.parametrize(
    "change",
    [
        {"exp": 10**11},
        {"exp": 1_750_000_000 + 32 * 86_400},
        {"iat": None, "exp": 1_750_000_000 + 32 * 86_400},
        {"jti": "a\0b"},
        {"jti": "\x1b[2J"},
        {"jti": "j" * 257},
        {"jti": 5},
    ],
)
async def test_such_a_token_that_lives_too_long_or_has_no_fit_id_is_refused(change):
    instance = Instance(secret=SHARED)
    with pytest.raises(Unauthenticated):
        await instance.bearer(minted(instance.clock, **change))
    longest = minted(instance.clock, exp=int(instance.clock.now()) + 31 * 86_400, jti="j" * 256)
    assert (await instance.bearer(longest)).token == "j" * 256


@pytest.mark.parametrize(
    "change",
    [
        {"exp": None},
        {"scope": None},
        {"scope": ["ws:a#r"]},
        {"scope": "ws:a"},
        {"scope": "ws:a#x"},
        {"scope": "wid:a wid:b"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a" * 300},
        {"sub": " x "},
        {"aud": "another"},
        {"aud": None},
        {"exp": 1},
        {"exp": "soon"},
        {"iat": 2**41},
        {f"{NAMESPACE}roles": "admin"},
        {f"{NAMESPACE}roles": [7]},
        {f"{NAMESPACE}email": "no address"},
        {f"{NAMESPACE}email": ["a@example.org"]},
        {f"{NAMESPACE}parent": 7},
        {f"{NAMESPACE}parent": "\n"},
        {f"{NAMESPACE}principal": "valetkey"},
        {f"{NAMESPACE}principal": ["", ""]},
        {f"{NAMESPACE}principal": ["a", "b", "c"]},
        {"jti": 7},
    ],
    ids=str,
)
async def test_a_claim_that_is_missing_or_of_no_use_is_refused_and_is_no_fault_of_ours(change):
    instance = Instance(secret=SHARED)
    assert (await instance.bearer(minted(instance.clock))).how == "access"
    with pytest.raises(Unauthenticated):
        await instance.bearer(minted(instance.clock, **change))


@pytest.mark.requirement("seed004.bp-expiration")
async def test_a_token_that_has_ended_is_told_so_in_the_words_that_users_know():
    instance = Instance()
    secret, _ = await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN, expires_in=60)
    assert (await instance.bearer(secret)).user is not None
    instance.clock.advance(60)
    with pytest.raises(Unauthenticated, match=r"^The token has expired\. Please fetch a new one$"):
        await instance.bearer(secret)


@pytest.mark.parametrize("algorithm", ["HS256", "HS512", "none"])
async def test_our_issuer_with_another_algorithm_is_refused_here(algorithm):
    instance = Instance()
    key = "" if algorithm == "none" else SHARED.reveal() * 2
    forged = pyjwt.encode({"iss": ISSUER, "sub": "ann", "aud": "api", "exp": 2**33, "scope": ""}, key, algorithm)
    with pytest.raises(Unauthenticated, match=f"Invalid algorithm: {algorithm}"):
        await instance.ours.verify(_presented(forged))


@pytest.mark.requirement("J-02")
async def test_a_public_key_of_ours_is_no_shared_secret():
    instance = Instance()
    public = instance.signer.jwks()["keys"][0]
    forged = minted(instance.clock, Secret(public["x"] + public["y"]))
    with pytest.raises(Unauthenticated, match="Invalid algorithm: HS256"):
        await instance.bearer(forged)


@pytest.mark.requirement("A-11")
async def test_a_forged_signature_is_refused_here_and_offered_to_nobody_else():
    instance = Instance(secret=SHARED)
    with pytest.raises(Unauthenticated, match="signature"):
        await instance.ours.verify(_presented(minted(instance.clock, Secret("another secret of thirty-two bytes!!"))))


async def test_what_does_not_say_that_it_is_ours_is_not_mine():
    instance = Instance(secret=SHARED)
    foreign = minted(instance.clock, iss="https://tenant.example/")
    for text in (foreign, "sk_live_abc123", "saml_1234", "opaque", "", "a.b.c", "a.b", "é"):
        assert await instance.ours.verify(_presented(text)) is None


async def test_a_foreign_issuer_may_have_our_name_and_signs_with_other_algorithms():
    instance = Instance(secret=SHARED)
    token = pyjwt.encode({"iss": ISSUER, "sub": "a", "aud": "api", "exp": 2**33}, "x" * 64, algorithm="HS512")
    with pytest.raises(Unauthenticated):
        await instance.ours.verify(_presented(token))
    shared = Ours(instance.signer, instance.tokens, clock=instance.clock, others={ISSUER})
    assert await shared.verify(_presented(token)) is None
    assert await shared.verify(_presented(minted(instance.clock))) is not None


def _presented(text: str):
    return Presented(scheme=BEARER, value=Secret(text))
