"""J-01 … J-40: tokens that are taken, and those that are not, each for its own reason."""

import base64
import json
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.identity.jwt_kit import (
    AUDIENCE,
    EC,
    ISSUER,
    KEYS,
    NOW,
    OTHER_EC,
    OTHER_RSA,
    RSA,
    b64,
    claims,
    raw,
    ready,
    signature,
    token,
)
from valetkey.errors import InvalidSetting, Unauthenticated
from valetkey.protocol import jws, jwt
from valetkey.protocol.jwk import VerifyingKey, public_key, read_key, read_key_set, secret_key
from valetkey.secret import Secret

ALL = frozenset(KEYS)
RULES = jwt.Rules(algorithms=ALL, issuer=ISSUER, audiences=frozenset({AUDIENCE}))
AT_ONLY = jwt.Rules(algorithms=ALL, issuer=ISSUER, audiences=frozenset({AUDIENCE}), token_type="at+jwt")
READY = [ready(alg) for alg in KEYS]
GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")
JSON_HEAD = '{"alg":"RS256","typ":"at+jwt"}'
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # the order of P-256


def take(
    text: str, *, rules: jwt.Rules = RULES, now: float = NOW, keys: list[VerifyingKey] | None = None
) -> jwt.Claims:
    return jwt.verify(text, *(READY if keys is None else keys), rules=rules, now=now)


@pytest.mark.requirement("C2.algorithms")
@pytest.mark.parametrize("alg", sorted(KEYS))
def test_good_tokens_of_every_algorithm_are_taken(alg):
    taken = take(token(alg=alg, jti="t-1", extra=["x"]), keys=[ready(alg)])
    assert (taken.issuer, taken.subject, taken.audience, taken.id) == (ISSUER, "ada", (AUDIENCE,), "t-1")
    assert (taken.expires_at, taken.issued_at, taken.members["extra"]) == (NOW + 600, NOW - 10, ["x"])


def _crafted(alg_json: str, end: str = "") -> str:
    return f"{b64('{' + alg_json + '}')}.{BODY}.{end}"


NONE = [
    *(f'"alg":{alg}' for alg in ('"none"', '"None"', '"NONE"', '"nOnE"', '""', "null", "1", "[]", "{}", '["RS256"]')),
    '"typ":"JWT"',
]


@pytest.mark.requirement("J-01")
@pytest.mark.parametrize("end", ["", SIGNATURE, "AAAA"])
@pytest.mark.parametrize("alg", NONE)
def test_j01_no_algorithm_is_none(alg, end):
    with pytest.raises(Unauthenticated, match="Invalid algorithm"):
        take(_crafted(alg, end))


PUBLIC = RSA.public_key()
SPKI = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
AS_SECRET = {
    "spki": SPKI,
    "spki without its last newline": SPKI.rstrip(),
    "pkcs1": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    "der": PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "base64": base64.b64encode(PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
}


@pytest.mark.requirement("J-02")
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("secret", AS_SECRET.values(), ids=AS_SECRET)
def test_j02_a_public_key_is_no_secret(alg, secret):
    with pytest.raises(Unauthenticated, match=f"Invalid algorithm: {alg}"):
        take(token(alg=alg, key=secret))
    wide = ready("RS256")
    assert not wide.verifies(alg, b"x", signature(alg, secret, b"x"))


def test_the_text_for_another_algorithm_is_the_one_that_users_know():
    with pytest.raises(Unauthenticated) as caught:
        take(token(alg="RS512", key=RSA))
    assert str(caught.value) == "Invalid algorithm: RS512"


OWN_CHAIN = {"x5c": [base64.b64encode(b"a certificate of one's own").decode()]}


@pytest.mark.requirement("J-06")
@pytest.mark.parametrize(
    "told", [OWN_CHAIN, {"x5u": "https://evil.test/c"}, {"jku": "https://evil.test/k"}, {"jwk": {"kty": "RSA"}}]
)
def test_j06_keys_that_a_token_brings_are_not_looked_at(told):
    with pytest.raises(Unauthenticated, match="signature"):
        take(token(key=OTHER_RSA, header=told))


CRITS: list[Any] = [["x-policy"], [], "alg", ["alg"], ["exp"], ["absent"], ["x", "x"], None, ["b64"], {}]


@pytest.mark.requirement("J-07", "J-08")
@pytest.mark.parametrize("crit", CRITS, ids=str)
def test_j07_j08_nothing_is_critical_here(crit):
    with pytest.raises(Unauthenticated, match="header asks"):
        take(token(header={"crit": crit, "x-policy": 1}))


@pytest.mark.requirement("J-09")
def test_j09_an_unencoded_payload_is_refused_before_it_is_read():
    head = b64('{"alg":"RS256","b64":false,"crit":["b64"]}')
    with pytest.raises(Unauthenticated):
        jwt.parse(f"{head}.{'x' * 50_000_000}.{SIGNATURE}")
    with pytest.raises(Unauthenticated, match="header asks"):
        jwt.parse(f"{head}.x.{SIGNATURE}")


@pytest.mark.requirement("J-10")
def test_j10_a_key_is_for_its_own_algorithm_only():
    only_rs = ready("RS256")
    for alg in ("PS256", "RS512"):
        text = token(alg=alg, key=RSA)
        head, body, end = text.split(".")
        message = f"{head}.{body}".encode()
        octets = base64.urlsafe_b64decode(end + "==")
        assert not only_rs.verifies(alg, message, octets)
    assert public_key(RSA.public_key()).verifies("PS256", b"m", signature("PS256", RSA, b"m"))


@pytest.mark.requirement("J-12")
@pytest.mark.parametrize(
    ("r", "s"), [(0, 0), (N, 1), (1, N), (0, 1), (1, 0), (N, N), (2**256 - 1, 2**256 - 1)], ids=str
)
def test_j12_psychic_signatures(r, s):
    head, body, _ = token(alg="ES256").split(".")
    end = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    with pytest.raises(Unauthenticated, match="signature"):
        take(f"{head}.{body}.{end}")


@pytest.mark.requirement("J-13")
def test_j13_ecdsa_signatures_have_one_form():
    head, body, end = token(alg="ES256").split(".")
    octets = base64.urlsafe_b64decode(end + "==")
    der = encode_dss_signature(int.from_bytes(octets[:32], "big"), int.from_bytes(octets[32:], "big"))
    for other in (der, octets[:-1], octets + b"\0", b"\0" + octets, b"", octets[:32], b"\0" * 64):
        with pytest.raises(Unauthenticated, match="signature"):
            take(f"{head}.{body}.{b64(other)}")


@pytest.mark.requirement("J-14")
@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1(), ec.SECP521R1()], ids=lambda each: each.name)
def test_j14_another_curve_is_no_key_here(curve):
    with pytest.raises(InvalidSetting, match="P-256"):
        public_key(ec.generate_private_key(curve).public_key())


@pytest.mark.requirement("J-15")
def test_j15_nothing_can_be_taken_away_or_swapped():
    other_head, other_body, other_end = token(alg="ES256", sub="eve").split(".")
    for text in (
        f"{HEAD}.{BODY}.",
        f"{HEAD}.{BODY}",
        f"{HEAD}..{SIGNATURE}",
        f".{BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE[:-4]}",
        f"{HEAD}.{other_body}.{SIGNATURE}",
        f"{other_head}.{BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{other_end}",
        f"{other_head}.{BODY}.{other_end}",
        "",
        ".",
        "..",
    ):
        with pytest.raises(Unauthenticated):
            take(text)


@pytest.mark.requirement("J-16")
def test_j16_a_token_without_an_end_is_refused():
    with pytest.raises(Unauthenticated, match="no exp"):
        take(token(exp=...))


@pytest.mark.requirement("J-17")
@pytest.mark.parametrize("left", [1, -29])
def test_j17_a_token_is_good_until_the_leeway_is_over(left):
    assert take(token(exp=NOW + left)).expires_at == NOW + left


@pytest.mark.requirement("J-17")
@pytest.mark.parametrize("left", [-30, -31, -1000])
def test_j17_and_no_longer(left):
    with pytest.raises(Unauthenticated) as caught:
        take(token(exp=NOW + left))
    assert str(caught.value) == "The token has expired. Please fetch a new one"


TIMES = ['"123"', "true", "null", "NaN", "Infinity", "1e400", "-1", "[]", "{}", "1" + "0" * 400, "9" * 5000]


@pytest.mark.requirement("J-18")
@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", TIMES, ids=lambda each: each[:12])
def test_j18_times_are_finite_numbers(name, value):
    members = {key: each for key, each in claims().items() if key != name}
    payload = json.dumps(members)[:-1] + f', "{name}": {value}}}'
    with pytest.raises(Unauthenticated):
        take(raw(JSON_HEAD, payload))


@pytest.mark.requirement("J-19")
@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_j19_a_token_of_the_future_is_not_valid_yet(name):
    def early(seconds: float) -> dict[str, Any]:
        return {name: NOW + seconds}

    with pytest.raises(Unauthenticated, match="not valid yet"):
        take(token(**early(31)))
    take(token(**early(29)))


@pytest.mark.requirement("J-20")
def test_j20_a_token_is_not_made_out_for_years():
    with pytest.raises(Unauthenticated, match="31 days"):
        take(token(exp=NOW + 315_000_000))
    with pytest.raises(Unauthenticated, match="31 days"):
        take(token(iat=..., exp=NOW + 32 * 86_400))
    take(token(iat=..., exp=NOW + 30 * 86_400))


ISSUERS = [
    ISSUER[:-1],
    ISSUER + "x",
    ISSUER.upper(),
    "https://Issuer.test/",
    [ISSUER],
    {"iss": ISSUER},
    ...,
    "",
    None,
    1,
    " " + ISSUER,
]


@pytest.mark.requirement("J-21")
@pytest.mark.parametrize("issuer", ISSUERS, ids=str)
def test_j21_the_issuer_is_compared_to_the_letter(issuer):
    with pytest.raises(Unauthenticated, match="issuer"):
        take(token(iss=issuer))


AUDIENCES = [AUDIENCE + "/", AUDIENCE[:-1], ["x"], [], "", None, ..., 1, [AUDIENCE, 1], [[AUDIENCE]], {AUDIENCE: 1}]


@pytest.mark.requirement("seed004.auth0-audience")
@pytest.mark.parametrize("audience", AUDIENCES, ids=str)
def test_the_audience_must_be_named(audience):
    with pytest.raises(Unauthenticated, match="audience"):
        take(token(aud=audience))


def test_an_audience_may_be_one_of_several():
    assert take(token(aud=["other", AUDIENCE])).audience == ("other", AUDIENCE)


@pytest.mark.requirement("J-24")
@pytest.mark.parametrize("sign", [{"nonce": "n"}, {"at_hash": "h"}, {"c_hash": "h"}, {"events": {}}], ids=str)
@pytest.mark.parametrize("typ", ["JWT", ..., "at+jwt"])
def test_j24_an_id_token_is_no_access_token(sign, typ):
    with pytest.raises(Unauthenticated, match="no access token"):
        take(token(typ=typ, **sign))


@pytest.mark.requirement("J-24")
@pytest.mark.parametrize("typ", ["JWT", ..., "", "application/jwt"])
def test_j24_where_the_type_is_agreed_only_that_one_is_taken(typ):
    take(token(typ=typ))
    with pytest.raises(Unauthenticated, match="typ"):
        take(token(typ=typ), rules=AT_ONLY)


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_the_type_of_access_tokens_is_known_in_every_spelling(typ):
    take(token(typ=typ), rules=AT_ONLY)


KINDS = ["logout+jwt", "dpop+jwt", "secevent+jwt", "oauth-authz-req+jwt", "id-jag", "oauth-id-jag+jwt", "JOSE", "at"]


@pytest.mark.requirement("J-25")
@pytest.mark.parametrize("typ", [*KINDS, "application/logout+jwt", 1, None, ["at+jwt"], "at+jwt\n"], ids=str)
def test_j25_other_kinds_of_token_are_no_access_tokens(typ):
    for rules in (RULES, AT_ONLY):
        with pytest.raises(Unauthenticated, match="typ"):
            take(token(typ=typ), rules=rules)


@pytest.mark.requirement("J-26")
@pytest.mark.parametrize(
    ("head", "more"),
    [
        (JSON_HEAD, ', "sub": "admin"'),
        (JSON_HEAD, ', "exp": 99999999999'),
        (JSON_HEAD, ', "deep": [{"a": {"b": 1, "b": 2}}]'),
        ('{"alg":"RS256","alg":"none"}', ""),
        ('{"alg":"RS256","\\u0061lg":"RS256"}', ""),
    ],
)
def test_j26_a_name_is_given_once_at_every_depth(head, more):
    with pytest.raises(Unauthenticated, match="one way only"):
        take(raw(head, json.dumps(claims())[:-1] + more + "}"))


@pytest.mark.requirement("J-29")
def test_j29_encrypted_tokens_are_not_opened():
    with pytest.raises(Unauthenticated):
        take(f"{b64(JSON_HEAD)}.AAAA.AAAA.{BODY}.{SIGNATURE}")


@pytest.mark.requirement("J-30")
def test_j30_no_work_is_done_because_a_header_says_so():
    head = b64(json.dumps({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31 - 1, "p2s": "AAAA"}))
    began = time.perf_counter()
    for text in (f"{head}.{BODY}.{SIGNATURE}", f"{head}.AAAA.AAAA.AAAA.AAAA"):
        with pytest.raises(Unauthenticated):
            take(text)
    assert time.perf_counter() - began < 0.05


@pytest.mark.requirement("J-31")
def test_j31_nothing_is_unpacked():
    packed = zlib.compress(b"0" * 100_000_000)[:11_000]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    with pytest.raises(Unauthenticated, match="header asks"):
        take(raw('{"alg":"RS256","zip":"DEF"}', packed))
    grown = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert grown < 1_000_000


@pytest.mark.requirement("J-32")
def test_j32_only_the_compact_form_is_read():
    flattened = {"payload": BODY, "protected": HEAD, "signature": SIGNATURE}
    general = {"payload": BODY, "signatures": [{"protected": HEAD, "signature": SIGNATURE}]}
    for form in (flattened, general, {"jws": GOOD}, {"  " + HEAD + ".": f".{SIGNATURE}", **flattened}, [GOOD]):
        with pytest.raises(Unauthenticated):
            take(json.dumps(form))


TEXT = json.dumps(claims())
CHARSETS = {
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-le": TEXT.encode("utf-16-le"),
    "utf-32": TEXT.encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "bytes that are no UTF-8": TEXT.encode()[:-1] + b', "n": "\xff"}',
    "half a character": TEXT.encode()[:-1] + rb', "n": "\ud800"}',
    "half a character in a name": TEXT.encode()[:-1] + rb', "\udc00": 1}',
    "half a character, encoded": TEXT.encode()[:-1] + b', "n": "\xed\xa0\x80"}',
    "an overlong form": TEXT.encode()[:-1] + b', "n": "\xc0\xae"}',
    "a bare control character": TEXT.encode()[:-1] + b', "n": "\n"}',
    "a value behind it": TEXT.encode() + b"{}",
    "no object": b"[]",
    "a text": b'"x"',
    "nothing": b"",
    "a depth of thousands": b'{"a":' + b"[" * 8000 + b"]" * 0 + b"}",
}


@pytest.mark.requirement("J-33")
@pytest.mark.parametrize("payload", CHARSETS.values(), ids=CHARSETS)
def test_j33_claims_are_json_in_utf_8(payload):
    with pytest.raises(Unauthenticated, match="one way only"):
        take(raw(JSON_HEAD, payload))


@pytest.mark.requirement("J-33")
def test_j33_whole_characters_may_be_escaped():
    assert take(raw(JSON_HEAD, TEXT[:-1] + r', "n": "\ud83d\ude00"}')).members["n"] == "😀"


def _noisy() -> dict[str, str]:
    last = SIGNATURE[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    unused = SIGNATURE[:-1] + alphabet[alphabet.index(last) | 1]
    made = {
        "a space": f"{HEAD} .{BODY}.{SIGNATURE}",
        "a space before": f" {GOOD}",
        "a newline behind": f"{GOOD}\n",
        "a question mark": f"{HEAD[:8]}?{HEAD[8:]}.{BODY}.{SIGNATURE}",
        "a newline within": f"{HEAD}.{BODY[:8]}\n{BODY[8:]}.{SIGNATURE}",
        "padding": f"{HEAD}.{BODY}.{SIGNATURE}==",
        "padding of the claims": f"{HEAD}.{BODY}{'=' * (-len(BODY) % 4 or 4)}.{SIGNATURE}",
        "unused bits": f"{HEAD}.{BODY}.{unused}",
        "a letter more": f"{HEAD}.{BODY}.{SIGNATURE}A",
        "no ASCII": f"{HEAD}.{BODY}.{SIGNATURE}é",
        "a null": f"{HEAD}.{BODY}\0.{SIGNATURE}",
    }
    assert unused != SIGNATURE
    return made


@pytest.mark.requirement("J-34")
@pytest.mark.parametrize("text", _noisy().values(), ids=_noisy())
def test_j34_base64url_is_written_in_one_way(text):
    with pytest.raises(Unauthenticated):
        take(text)


@pytest.mark.requirement("J-34")
@pytest.mark.parametrize(("ours", "theirs"), [("-", "+"), ("_", "/")])
def test_j34_the_alphabet_is_that_of_urls(ours, theirs):
    text = next(each for i in range(200) if ours in (each := token(jti=f"{i}")))
    take(text)
    with pytest.raises(Unauthenticated):
        take(text.replace(ours, theirs))


KIDS = ["\0", "a\0b", "x" * 10_000, ["RS256"], 1, {}, "", "a\nb", "\u202e"]


@pytest.mark.requirement("J-37")
@pytest.mark.parametrize("kid", KIDS, ids=lambda each: str(each)[:8])
def test_j37_a_kid_is_a_short_text(kid):
    with pytest.raises(Unauthenticated, match="kid"):
        take(token(header={"kid": kid}))


@pytest.mark.requirement("J-38")
def test_j38_weak_keys_are_refused_where_they_are_set():
    for secret in (b"", b"secret", b"x" * 31, Secret("secret"), Secret("")):
        with pytest.raises(InvalidSetting, match="32"):
            secret_key(secret)
        with pytest.raises(InvalidSetting, match="32"):
            jwt.sign(claims(), secret, alg="HS256")
    with pytest.raises(InvalidSetting, match="1024 bits"):
        public_key(rsa.generate_private_key(65_537, 1024).public_key())  # noqa: S505  # that is the point
    with pytest.raises(InvalidSetting, match="exponent"):
        public_key(rsa.generate_private_key(3, 2048).public_key())


@pytest.mark.requirement("J-39")
@pytest.mark.parametrize(
    "algorithms", [[], ["none"], ["HS256", "RS256"], ["HS256", "ES256"], ["RS1"], ["RS256", "none"]]
)
def test_j39_algorithms_must_be_named_and_of_one_kind(algorithms):
    with pytest.raises(InvalidSetting, match="algorithms"):
        jwt.Rules(algorithms=frozenset(algorithms), issuer=ISSUER, audiences=frozenset({AUDIENCE}))


@pytest.mark.parametrize(("issuer", "audiences"), [("", {"a"}), ("i", set()), ("i", {""})])
def test_rules_need_an_issuer_and_an_audience(issuer, audiences):
    with pytest.raises(InvalidSetting, match="audience"):
        jwt.Rules(algorithms=ALL, issuer=issuer, audiences=frozenset(audiences))


SUBJECTS = ["", " ", " ada", "ada ", "a" * 257, "a\0b", "a\nb", "\u202eada", "a\u00a0b", 7, None, ..., ["ada"], True]


@pytest.mark.requirement("J-40")
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda each: repr(each)[:12])
def test_j40_a_subject_can_be_shown_and_told_apart(subject):
    with pytest.raises(Unauthenticated, match="sub"):
        take(token(sub=subject))


@pytest.mark.requirement("J-40")
@pytest.mark.parametrize("subject", ["a", "a" * 256, "auth0|5f", "Grüße 1"])
def test_j40_other_subjects_are_fine(subject):
    assert take(token(sub=subject)).subject == subject


@pytest.mark.requirement("J-43")
@pytest.mark.parametrize("bound", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, None])
def test_j43_a_token_that_is_bound_to_a_key_is_no_bearer_token(bound):
    with pytest.raises(Unauthenticated, match="bound"):
        take(token(cnf=bound))


def test_a_token_is_of_bounded_size():
    take(token(filler="x" * 10_000))
    with pytest.raises(Unauthenticated, match="16384"):
        take(token(filler="x" * 13_000))


def test_further_claims_can_be_asked_for():
    rules = jwt.Rules(algorithms=ALL, issuer=ISSUER, audiences=frozenset({AUDIENCE}), require=frozenset({"jti"}))
    take(token(jti="1"), rules=rules)
    with pytest.raises(Unauthenticated, match="jti"):
        take(token(), rules=rules)
    for jti in (1, None, "x" * 300):
        with pytest.raises(Unauthenticated, match="jti"):
            take(token(jti=jti))


def test_no_key_is_no_signature():
    with pytest.raises(Unauthenticated, match="signature"):
        take(GOOD, keys=[])


def test_no_refusal_repeats_the_token():
    for text in (token(sub=" secret-subject"), token(aud="secret-audience"), token(iss="secret-issuer")):
        with pytest.raises(Unauthenticated) as caught:
            take(text)
        assert "secret" not in str(caught.value)
        assert str(caught.value).endswith("Ask for a new one.")


def test_what_is_signed_here_is_taken_here():
    es = jwt.sign(claims(jti="1"), EC, alg="ES256", kid="k1", typ="at+jwt")
    assert jws.split(es)[0] == jws.Header(algorithm="ES256", kid="k1", type="at+jwt")
    assert take(es, rules=AT_ONLY).id == "1"
    secret = Secret("s" * 32)
    hs = jwt.sign(claims(sub="Grüße"), secret, alg="HS256")
    rules = jwt.Rules(algorithms=frozenset({"HS256"}), issuer=ISSUER, audiences=frozenset({AUDIENCE}))
    assert take(hs, rules=rules, keys=[secret_key(secret)]).subject == "Grüße"
    with pytest.raises(Unauthenticated, match="signature"):
        take(hs, rules=rules, keys=[secret_key(b"t" * 32)])
    assert jws.split(hs)[0] == jws.Header(algorithm="HS256", kid=None, type="jwt")


def test_keys_sign_with_their_own_algorithm_only():
    for key, alg in ((EC, "HS256"), (b"x" * 32, "ES256"), (ec.generate_private_key(ec.SECP384R1()), "ES256")):
        with pytest.raises(InvalidSetting):
            jwt.sign(claims(), key, alg=alg)
    with pytest.raises(ValueError, match="JSON"):
        jwt.sign(claims(exp=float("nan")), EC, alg="ES256")


def test_an_issuer_is_known_of_a_token_with_a_bad_header():
    bad = raw('{"alg":"RS256","crit":["x"]}', json.dumps(claims()))
    assert jwt.claimed_issuer(bad) == ISSUER
    for text in ("", "a.b.c", "é.é.é", f"{HEAD}.{BODY}", token(iss=1), "x" * 20_000):
        assert jwt.claimed_issuer(text) == ""


def test_a_second_signature_over_the_same_token_is_the_same_token():
    text = token(alg="ES256")
    head, body, end = text.split(".")
    octets = base64.urlsafe_b64decode(end + "==")
    other = octets[:32] + (N - int.from_bytes(octets[32:], "big")).to_bytes(32, "big")
    twin = f"{head}.{body}.{b64(other)}"
    take(twin)
    assert twin != text
    assert jwt.fingerprint(twin) == jwt.fingerprint(text)
    assert len({jwt.fingerprint(each) for each in (text, token(alg="ES256", sub="eve"), "opaque", "a.b", "")}) == 5


JWK = {"kty": "RSA", "e": "AQAB", "n": b64(RSA.public_key().public_numbers().n.to_bytes(256, "big"))}
POINT = EC.public_key().public_numbers()
EC_JWK = {"kty": "EC", "crv": "P-256", "x": b64(POINT.x.to_bytes(32, "big")), "y": b64(POINT.y.to_bytes(32, "big"))}
NOT_FOR_US = [
    {"use": "enc"},
    {"key_ops": ["sign"]},
    {"key_ops": "verify"},
    {"key_ops": []},
    {"alg": "RSA-OAEP"},
    {"alg": "RS512"},
    {"alg": "ES256"},
    {"alg": None},
    {"alg": ["RS256"]},
    {"use": None},
    {"kty": "AKP"},
    {"kty": None},
    {"kty": ["RSA"]},
    {"crv": "P-256"},
]


@pytest.mark.requirement("J-11")
@pytest.mark.parametrize("changed", NOT_FOR_US, ids=str)
def test_j11_a_key_for_something_else_verifies_nothing(changed):
    assert read_key(JWK) is not None
    assert read_key(JWK | changed) is None


def test_a_key_is_read_with_what_it_says_of_itself():
    key = read_key(JWK | {"kid": "k", "alg": "PS256", "use": "sig", "key_ops": ["verify"], "x5c": ["x"]})
    assert key is not None
    assert (key.kid, key.algorithms) == ("k", frozenset({"PS256"}))
    bare = read_key(EC_JWK)
    assert bare is not None
    assert (bare.kid, bare.algorithms) == ("", frozenset({"ES256"}))
    assert read_key(EC_JWK | {"crv": "secp256k1"}) is None


def _number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8 or 1, "big"))


MODULUS = RSA.public_key().public_numbers().n
BAD_KEYS = {
    "symmetric": {"kty": "oct", "k": b64(b"x" * 32)},
    "symmetric under another name": JWK | {"k": b64(b"x" * 32)},
    "with its private part": JWK | {"d": "AQAB"},
    "an exponent of 1": JWK | {"e": _number(1)},
    "an exponent of 3": JWK | {"e": _number(3)},
    "an even exponent": JWK | {"e": _number(65_538)},
    "a huge exponent": JWK | {"e": _number(MODULUS - 2)},
    "a tiny modulus": JWK | {"n": _number(MODULUS >> 1024)},
    "a huge modulus": JWK | {"n": _number(1 << 16_384)},
    "a modulus in another alphabet": JWK | {"n": JWK["n"].replace("-", "+").replace("_", "/") + "=="},
    "no modulus": {name: value for name, value in JWK.items() if name != "n"},
    "a modulus that is no text": JWK | {"n": 5},
    "a point that is not on the curve": EC_JWK | {"x": _number(5, 32)},
    "a short coordinate": EC_JWK | {"x": _number(POINT.x >> 8, 31)},
    "a kid that is none": JWK | {"kid": 7},
    "a long kid": JWK | {"kid": "k" * 300},
    "a short Ed25519 key": {"kty": "OKP", "crv": "Ed25519", "x": b64(b"x" * 31)},
}


@pytest.mark.requirement("K-09")
@pytest.mark.parametrize("bad", BAD_KEYS.values(), ids=BAD_KEYS)
def test_k09_bad_keys_of_a_set_are_not_used_and_said(bad):
    keys, faults = read_key_set({"keys": [bad, JWK | {"kid": "good"}]}, most=100)
    assert [key.kid for key in keys] == ["good"]
    assert len(faults) == 1
    assert "is not used" in faults[0]


@pytest.mark.requirement("K-09")
def test_k09_an_id_of_two_keys_names_none():
    other = JWK | {"n": _number(OTHER_RSA.public_key().public_numbers().n)}
    same, different = EC_JWK | {"kid": "a"}, JWK | {"kid": "a"}
    keys, faults = read_key_set({"keys": [same, different, other | {"kid": "b"}, JWK | {"kid": "b"}]}, most=100)
    assert keys == ()
    assert len(faults) == 2
    twice, silent = read_key_set({"keys": [JWK | {"kid": "a"}, JWK | {"kid": "a"}]}, most=100)
    assert len(twice) == 1
    assert silent == ()
    nameless, _ = read_key_set({"keys": [JWK, other, EC_JWK, "no key", None]}, most=100)
    assert len(nameless) == 3


@pytest.mark.requirement("K-08")
@pytest.mark.parametrize("members", [{}, {"keys": {}}, {"keys": None}, {"keys": [JWK] * 101}], ids=lambda _: "")
def test_k08_what_is_no_set_or_too_large_a_one(members):
    with pytest.raises(ValueError, match="keys"):
        read_key_set(members, most=100)


def test_another_key_of_the_same_kind_does_not_verify():
    with pytest.raises(Unauthenticated, match="signature"):
        take(token(alg="ES256", key=OTHER_EC))


WYCHEPROOF = Path(__file__).resolve().parents[3] / "shared" / "wycheproof" / "json_web_signature_test.json"
AS_A_VALID_ONE = {367, 370}  # byte for byte the same as a vector that is valid
NOISE = {372, 373}  # hold a question mark, and are called valid
OTHER_ALGORITHM = {346, 350}  # a key whose alg is PS256, a token of PS384
NOT_OURS = ("RS384", "RS512", "PS384", "PS512", "ES384", "ES512", "ES521", "HS384", "HS512")


@pytest.mark.requirement("J-46", "C.shown-vectors")
def test_j46_wycheproof():
    if not WYCHEPROOF.exists():
        pytest.skip(f"the vectors: {WYCHEPROOF.name} of C2SP/wycheproof (Apache-2.0) in shared/wycheproof")
    tried = 0
    for group in json.loads(WYCHEPROOF.read_text("utf-8"))["testGroups"]:
        members = group.get("public") or group["private"]
        key = _wycheproof_key(members)
        for vector in group["tests"]:
            number, valid = vector["tcId"], vector["result"] == "valid"
            if number in AS_A_VALID_ONE | NOISE | OTHER_ALGORITHM or members.get("alg") in NOT_OURS:
                continue
            tried += 1
            assert _accepted(vector["jws"], key) == valid, (number, vector["comment"])
    assert tried > 300


def _wycheproof_key(members):
    if members["kty"] != "oct":
        return read_key(members)
    fits = members.get("use", "sig") == "sig" and "verify" in members.get("key_ops", ["verify"])
    octets = base64.urlsafe_b64decode(members["k"] + "==")
    return secret_key(octets) if fits and members.get("alg", "HS256") == "HS256" else None


def _accepted(text, key):
    try:
        header, payload, signed, end = jws.split(text if isinstance(text, str) else json.dumps(text))
        jws.octets_of(payload)
    except Unauthenticated:
        return False
    return key is not None and key.verifies(header.algorithm, signed, end)
