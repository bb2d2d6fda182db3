"""Tokens of trusted issuers, by the chain: who they are here, and what happens to all others."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identity.jwt_kit import (
    ISSUER,
    KEYS,
    NOW,
    OTHER_RSA,
    World,
    b64,
    claims,
    jwk,
    jwks,
    raw,
    token,
    trusted,
)
from valetkey.adapters.local_messages import LocalWakeups
from valetkey.adapters.memory_tokens import MemoryStops
from valetkey.errors import CouldNotTell, ExchangeFailed, InvalidSetting, Unauthenticated
from valetkey.identity.chain import Chain
from valetkey.identity.verifiers.foreign import KEEP, Foreign
from valetkey.model.caller import Caller
from valetkey.model.calls import Presented
from valetkey.model.stops import Stop, StopKind
from valetkey.model.users import UserInfo, UserPermission
from valetkey.oauth.keys import LIFE, IssuerKeys
from valetkey.ports.world import Trust
from valetkey.protocol.jwt import fingerprint
from valetkey.secret import Secret
from valetkey.stops import Stops
from valetkey.testing.clock import ManualClock

NS = "https://ns.test/"
OTHER = "https://other.test"
URL = f"{ISSUER}jwks"
STRANGER = rsa.generate_private_key(65_537, 2048)


def bearer(text: str) -> Presented:
    return Presented(scheme="bearer", value=Secret(text))


class House:
    """A chain over trusted issuers, with what can be stopped."""

    def __init__(self, *issuers, answers: dict[str, Any] | None = None):
        self.clock = ManualClock(NOW)
        self.world = World(answers or {URL: jwks()})
        self.keys = IssuerKeys(self.world, clock=self.clock)
        self.foreign = Foreign(issuers or (trusted(),), self.keys, clock=self.clock)
        self.stops = Stops(store=MemoryStops(), clock=self.clock, wakeups=LocalWakeups())
        self.chain = Chain([self.foreign], stops=self.stops, clock=self.clock)

    async def who(self, text: str) -> Caller:
        return await self.chain.identify(bearer(text))

    async def user(self, text: str) -> UserInfo:
        caller = await self.who(text)
        assert caller.user is not None
        return caller.user


@pytest.fixture
def house():
    return House()


@pytest.mark.requirement("d20.own-scopes-only", "d21.id", "C2.issuers")
@pytest.mark.parametrize("alg", sorted(KEYS))
async def test_who_an_issuer_vouches_for_is_a_user_of_its_own_name(house, alg):
    caller = await house.who(token(alg=alg, roles=["editor"], email="ada@example.com", scope="read:mail ws:public#a"))
    user = caller.user
    assert (caller.how, caller.until, caller.principal) == ("foreign", NOW + 630, (ISSUER, "ada"))
    assert caller.owner.workspace == "ws-user-main|ada"
    assert (user.id, user.roles, user.email, user.expires_at) == ("main|ada", ["editor"], "ada@example.com", NOW + 600)
    assert user.scope.workspaces == {"ws-user-main|ada": UserPermission.admin}
    assert user.scope.extra_scopes == ["read:mail"]
    assert (user.parent, user.is_anonymous, user._principal) == (None, False, (ISSUER, "ada"))
    assert UserInfo.model_validate(user.model_dump()).id == user.id


async def test_an_admin_may_do_all(house):
    user = await house.user(token(roles=["admin"]))
    assert user.get_permission("anything") is UserPermission.admin


@pytest.mark.requirement("seed004.auth0-namespace", "seed004.claims")
@pytest.mark.parametrize("namespace", [NS, NS[:-1]])
@pytest.mark.parametrize("written", [NS, NS[:-1]])
async def test_claims_of_a_namespace_are_read_with_the_slash_or_without(namespace, written):
    house = House(trusted(namespace=namespace, plain_ids=True))
    told: dict[str, Any] = {
        f"{written}roles": ["admin"],
        f"{written}email": "ada@example.com",
        "roles": ["no"],
        "email": "no@x.org",
    }
    user = await house.user(token(sub="auth0|5f", **told))
    assert (user.id, user.roles, user.email) == ("auth0|5f", ["admin"], "ada@example.com")
    plain = await house.user(token(sub="auth0|6f", roles=["admin"], email="eve@example.com"))
    assert (plain.roles, plain.email) == ([], None)


@pytest.mark.requirement("seed004.claims")
@pytest.mark.parametrize(
    "told",
    [{"email": "no address"}, {"email": 5}, {"email": "a@b.test"}, {"email": "a@example.com", "email_verified": False}],
)
async def test_an_address_that_cannot_be_relied_on_is_left_out(house, told):
    assert (await house.user(token(**told))).email is None


@pytest.mark.requirement("seed004.claims")
@pytest.mark.parametrize("roles", ["admin", {"admin": 1}, [1], [""], ["a\nb"], ["x" * 200], ["a"] * 500])
async def test_roles_are_a_list_of_texts(house, roles):
    with pytest.raises(Unauthenticated, match="role"):
        await house.who(token(roles=roles))


async def test_a_parent_would_be_somebody_elses_name(house):
    named: dict[str, Any] = {"parent": "root", "https://ns.test/parent": "root"}
    user = await house.user(token(**named))
    assert user.get_effective_user_id() == "main|ada"


NAMES = ["local|ada", "other|ada", "valetkey|x", "custom|x", "anonymous|x", "root", "anonymouz-http", "anonymouz-1"]


@pytest.mark.requirement("d21.id", "J-40")
@pytest.mark.parametrize("subject", NAMES)
async def test_j40_a_bare_id_is_nobody_elses(subject):
    house = House(trusted(plain_ids=True), trusted("other", issuer=OTHER))
    with pytest.raises(Unauthenticated, match="somebody else"):
        await house.who(token(sub=subject))
    assert (await house.user(token(sub="main|ada"))).id == "main|ada"


@pytest.mark.requirement("d21.principal", "J-40", "C2.issuers")
async def test_j40_two_issuers_with_one_sub_share_nothing():
    house = House(
        trusted(), trusted("other", issuer=OTHER, jwks_url=f"{OTHER}/k"), answers={URL: jwks(), f"{OTHER}/k": jwks()}
    )
    one, two = await house.who(token()), await house.who(token(iss=OTHER))
    assert one.owner != two.owner
    assert one.owner.workspace != two.owner.workspace
    assert one.principal != two.principal


async def test_a_long_sub_is_refused_before_it_is_a_fault(house):
    with pytest.raises(Unauthenticated, match="too long"):
        await house.who(token(sub="a" * 254))


@pytest.mark.requirement("J-23")
async def test_j23_a_key_is_good_for_its_own_issuer_only():
    house = House(
        trusted(),
        trusted("other", issuer=OTHER, jwks_url=f"{OTHER}/k"),
        answers={URL: jwks(jwk("RS256")), f"{OTHER}/k": jwks(jwk("RS256", OTHER_RSA))},
    )
    await house.who(token(iss=OTHER, key=OTHER_RSA))
    for text in (token(key=OTHER_RSA), token(iss=OTHER)):
        with pytest.raises(Unauthenticated, match="signature"):
            await house.who(text)


async def test_a_token_without_kid_is_tried_with_the_keys_that_fit():
    others = [jwk("RS256", OTHER_RSA, kid=""), jwk("ES256", kid="")]
    house = House(answers={URL: jwks(*others, jwk("RS256", kid="here"))})
    await house.who(token(header={"kid": ...}))
    with pytest.raises(Unauthenticated, match="signature"):
        await house.who(token(header={"kid": ...}, key=STRANGER))


@pytest.mark.requirement("C2.issuers")
@pytest.mark.parametrize("algorithms", [{"RS256"}, {"ES256", "EdDSA"}])
async def test_each_issuer_has_algorithms_of_its_own(algorithms):
    house = House(trusted(algorithms=frozenset(algorithms)))
    for alg in KEYS:
        if alg in algorithms:
            await house.who(token(alg=alg))
        else:
            with pytest.raises(Unauthenticated, match=f"Invalid algorithm: {alg}"):
                await house.who(token(alg=alg))


NOT_MINE = [
    "",
    "opaque",
    "vk_id_secret_crc",
    "a.b.c",
    token(iss="https://elsewhere.test"),
    token(iss=...),
    token(iss=[ISSUER]),
    token(iss=5),
    token() + ".x.y",
    "x" * 20_000,
    "\ud800.a.b",
]


@pytest.mark.parametrize("text", NOT_MINE, ids=lambda each: each[:9].encode("ascii", "replace").decode())
async def test_what_is_nobodys_here_is_left_to_others(house, text):
    assert await house.foreign.verify(bearer(text)) is None
    assert house.world.asked == []


async def test_only_bearer_tokens_are_looked_at(house):
    for scheme in ("session", "anonymous", "host"):
        assert await house.foreign.verify(Presented(scheme=scheme, value=Secret(token()))) is None


@pytest.mark.requirement("A-11")
@pytest.mark.parametrize(
    "header", ['{"alg":"RS256","crit":["x"]}', '{"alg":"none"}', '{"alg":"RS256","zip":"DEF"}', "[]"]
)
async def test_a11_a_bad_token_in_the_name_of_an_issuer_is_offered_to_nobody_else(house, header):
    with pytest.raises(Unauthenticated):
        await house.foreign.verify(bearer(raw(header, json.dumps(claims()))))


TEMPLATE = "https://login.test/{tid}/v2.0"


@pytest.mark.requirement("K-14")
async def test_k14_a_tenant_is_named_in_the_issuer_and_in_the_token():
    house = House(
        trusted(issuer=TEMPLATE, tenants=frozenset({"t-1", "t-2"}), jwks_url="https://login.test/{tid}/keys"),
        answers={f"https://login.test/{tid}/keys": jwks() for tid in ("t-1", "t-2", "t-3")},
    )
    one = TEMPLATE.replace("{tid}", "t-1")
    caller = await house.who(token(iss=one, tid="t-1"))
    assert caller.principal == (one, "ada")
    for tid in ("t-2", ..., 5):
        with pytest.raises(Unauthenticated, match="tid"):
            await house.who(token(iss=one, tid=tid))
    for name in ("t-3", "{tid}", "T-1"):
        with pytest.raises(Unauthenticated, match="Nobody"):
            await house.who(token(iss=TEMPLATE.replace("{tid}", name), tid=name))


@pytest.mark.requirement("K-18")
async def test_keys_that_cannot_be_had_are_no_verdict():
    house = House(answers={URL: ExchangeFailed("down", sent=False)})
    with pytest.raises(CouldNotTell):
        await house.who(token())
    assert len(house.world.asked) == 1


@pytest.mark.requirement("J-44")
async def test_j44_a_revoked_token_ends_at_once_and_so_does_its_twin(house):
    text = token(alg="ES256")
    await house.who(text)
    await house.stops.put(Stop(kind=StopKind.TOKEN, target=fingerprint(text), created_at=NOW))
    head, body, end = text.split(".")
    octets = base64.urlsafe_b64decode(end + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = octets[:32] + (order - int.from_bytes(octets[32:], "big")).to_bytes(32, "big")
    for each in (text, f"{head}.{body}.{b64(twin)}"):
        with pytest.raises(Unauthenticated, match="revoked"):
            await house.who(each)
    await house.who(token(alg="ES256", sub="bob"))


async def test_a_blocked_user_is_let_in_by_no_token(house):
    await house.stops.put(Stop(kind=StopKind.USER, target="main|ada", created_at=NOW))
    with pytest.raises(Unauthenticated, match="blocked"):
        await house.who(token())


@pytest.mark.requirement("C2.cache")
async def test_a_verdict_is_remembered_and_ends_with_the_token(house):
    text = token(exp=NOW + 50)
    first = await house.who(text)
    assert (await house.who(text)).user is first.user
    house.clock.advance(79)
    assert (await house.who(text)).until == NOW + 80
    house.clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        await house.who(text)


@pytest.mark.requirement("K-03")
async def test_k03_with_what_is_remembered_a_removed_key_is_dead_in_ten_minutes(house):
    assert LIFE + KEEP <= 600
    text = token(exp=NOW + 3600)
    await house.who(text)
    house.world.answers[URL] = jwks(jwk("ES256"))
    gone = None
    for second in range(0, 602, 7):
        try:
            await house.who(text)
        except Unauthenticated:
            gone = second
            break
        house.clock.advance(7)
    assert gone is not None
    assert gone <= 600


WRONG = [
    {"alias": "A"},
    {"alias": ""},
    {"alias": "local"},
    {"alias": "a|b"},
    {"algorithms": frozenset()},
    {"algorithms": frozenset({"none"})},
    {"algorithms": frozenset({"HS256"})},
    {"algorithms": frozenset({"HS256", "RS256"})},
    {"algorithms": frozenset({"RS512"})},
    {"audiences": frozenset()},
    {"audiences": frozenset({""})},
    {"issuer": ""},
    {"issuer": TEMPLATE},
    {"tenants": frozenset({"t"})},
    {"issuer": TEMPLATE, "tenants": frozenset({"../x"})},
    {"jwks_url": "file:///etc/passwd"},
    {"jwks_url": "ftp://issuer.test/k"},
    {"jwks_url": "http://issuer.test/k"},
    {"jwks_url": "data:application/json,x"},
    {"jwks_url": "http://127.0.0.1/k", "trust": Trust.CATALOGUE},
    {"jwks_url": "", "issuer": "issuer.test"},
    {"introspection_url": "http://issuer.test/i"},
]


@pytest.mark.requirement("J-39", "K-06")
@pytest.mark.parametrize("changed", WRONG, ids=" ".join)
def test_j39_k06_an_issuer_that_cannot_be_judged_safely_ends_the_start(changed):
    with pytest.raises(InvalidSetting):
        House(trusted(**changed))


def test_issuers_are_told_apart():
    for other in (trusted("main", issuer=OTHER), trusted("other")):
        with pytest.raises(InvalidSetting):
            House(trusted(), other)
    with pytest.raises(InvalidSetting, match="plain_ids"):
        House(trusted(plain_ids=True), trusted("other", issuer=OTHER, plain_ids=True))
    House(trusted(), trusted("other", issuer=OTHER))
    House(trusted(jwks_url="http://127.0.0.1:8080/jwks"))


@pytest.mark.requirement("J-24")
async def test_j24_the_type_can_be_agreed_with_an_issuer():
    house = House(trusted(token_type="application/at+jwt"))
    await house.who(token(typ="at+jwt"))
    with pytest.raises(Unauthenticated, match="typ"):
        await house.who(token(typ="JWT"))


@pytest.mark.requirement("J-37")
async def test_j37_no_kid_leads_anywhere_else(house):
    for kid in ("../../etc/passwd", "' OR 1=1--", "https://evil.test/keys", "/dev/null", "%00"):
        with pytest.raises(Unauthenticated):
            await house.who(token(header={"kid": kid}))
    assert {request.url for request in house.world.asked} == {URL}


GOOD = {alg: token(alg=alg, roles=["r"], jti="1") for alg in KEYS}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _character(text: str, draw: st.DrawFn) -> str:
    at = draw(st.integers(0, len(text) - 1))
    return text[:at] + draw(st.sampled_from(ALPHABET + ".=+/ \n\0é")) + text[at + 1 :]


def _bit(text: str, draw: st.DrawFn) -> str:
    parts = text.split(".")
    which = draw(st.integers(0, 2))
    octets = bytearray(base64.urlsafe_b64decode(parts[which] + "=="))
    octets[draw(st.integers(0, len(octets) - 1))] ^= 1 << draw(st.integers(0, 7))
    parts[which] = b64(bytes(octets))
    return ".".join(parts)


def _swap(text: str, draw: st.DrawFn) -> str:
    parts = text.split(".")
    other = GOOD[draw(st.sampled_from(sorted(GOOD)))].split(".")
    parts[draw(st.integers(0, 2))] = other[draw(st.integers(0, 2))]
    return ".".join(parts)


def _cut(text: str, draw: st.DrawFn) -> str:
    return text[draw(st.integers(0, 40)) : len(text) - draw(st.integers(0, 40))]


def _insert(text: str, draw: st.DrawFn) -> str:
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.text(max_size=5)) + text[at:]


def _join(text: str, draw: st.DrawFn) -> str:
    return draw(st.sampled_from([".", " ", ",", ""])).join([text, draw(st.sampled_from([text, "", "x"]))])


def _edit(text: str, draw: st.DrawFn) -> str:
    parts = text.split(".")
    which = draw(st.integers(0, 1))
    members = json.loads(base64.urlsafe_b64decode(parts[which] + "=="))
    name = draw(st.sampled_from([*members, "crit", "b64", "zip", "cnf", "nonce", "x"]))
    members[name] = draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=3)
    )
    parts[which] = b64(json.dumps(members, separators=(",", ":")))
    return ".".join(parts)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A good token, changed in one of many ways."""
    text = GOOD[draw(st.sampled_from(sorted(GOOD)))]
    return draw(st.sampled_from([_character, _bit, _swap, _cut, _insert, _join, _edit, _edit]))(text, draw)


@pytest.mark.requirement("J-47", "C2.wrapper", "C.shown-vectors")
@settings(max_examples=400)
@given(text=mutated())
async def test_j47_a_changed_token_is_never_taken_and_never_a_fault(text):
    house = House()
    try:
        caller = await house.who(text)
    except Unauthenticated:
        return
    assert text in GOOD.values(), caller
