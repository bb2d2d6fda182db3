"""Which addresses may be called: rows X-08, X-10, X-11, X-13, X-14, O-23 and decision 11."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.adapters.addresses import AddressRules, Reach, is_loopback_name, origin_of, reach_of
from valetkey.errors import BlockedAddress, InvalidSetting
from valetkey.ports.world import Trust

PUBLIC = ["93.184.216.34", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:2800:220:1::1", "2a00:1450::1"]
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1"]
METADATA = ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "192.0.0.192", "169.254.170.2", "168.63.129.16"]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "0.0.0.0",  # noqa: S104 - leads to this machine, must be refused
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "192.88.99.1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "::",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2001::1",
    "2001:0:808:808::f7f7:f7f7",
    "2001:db8::1",
    "3fff::1",
    "2606:2800:220:1:0:5efe:7f00:1",
    "2606:2800:220:1:200:5efe:808:808",
    "100::1",
]
WRAPPED_METADATA = [
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2001:0:808:808::5601:5601",
    "2606:2800:220:1:0:5efe:a9fe:a9fe",
]
RULES = AddressRules()


def url_of(address, scheme="https"):
    return f"{scheme}://[{address}]/" if ":" in address else f"{scheme}://{address}/"


def judge(addresses, trust, *, rules=RULES, host="api.example.com", scheme="https", port=443):
    return rules.judge_addresses(addresses, scheme=scheme, host=host, port=port, trust=trust)


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize("address", PRIVATE + METADATA + WRAPPED_METADATA)
def test_an_address_that_is_not_public_is_refused_whoever_named_it(address, trust):
    with pytest.raises(BlockedAddress):
        RULES.judge_url(url_of(address), trust)
    with pytest.raises(BlockedAddress):
        judge([address], trust)


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_called_over_https(address, trust):
    assert RULES.judge_url(url_of(address), trust).host == address
    assert judge([address], trust) == (address,)


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_for_the_operator_only(address):
    assert RULES.judge_url(url_of(address), Trust.OPERATOR).host == address
    assert judge([address], Trust.OPERATOR) == (address,)
    with pytest.raises(BlockedAddress):
        RULES.judge_url(url_of(address), Trust.CATALOGUE)
    with pytest.raises(BlockedAddress):
        judge([address], Trust.CATALOGUE)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.9.9.9", "[::1]:8000", "localhost:9527", "idp.localhost"])
def test_plain_http_is_for_the_operators_loopback(host):
    assert RULES.judge_url(f"http://{host}/callback", Trust.OPERATOR).origin == f"http://{host}"
    with pytest.raises(BlockedAddress, match="not https"):
        RULES.judge_url(f"http://{host}/callback", Trust.CATALOGUE)


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize(
    "host", ["api.example.com", "93.184.216.34", "10.0.0.1", "localhost.example.com", "xlocalhost"]
)
def test_plain_http_elsewhere_is_refused(host, trust):
    with pytest.raises(BlockedAddress):
        RULES.judge_url(f"http://{host}/", trust)


def test_a_name_of_this_machine_is_loopback_without_a_resolver():
    assert is_loopback_name("localhost")
    assert is_loopback_name("a.b.localhost")
    assert not is_loopback_name("localhost.example.com")
    with pytest.raises(BlockedAddress):
        RULES.judge_url("https://localhost/", Trust.CATALOGUE)


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.0x1",
        "1.2.3.4.5",
        "256.1.1.1",
        "0",
        "localhost.",
        "api.example.com.",
        "127.0.0.1.",
        "[::]",
        "[::1%25lo]",
        "[::1%lo]",
        "[127.0.0.1]",
        "[fe80::1%eth0]",
        "[v1.x]",
    ],
)
def test_an_address_in_another_form_is_refused(host, trust):
    with pytest.raises(BlockedAddress):
        RULES.judge_url(f"https://{host}/", trust)


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "unix:/run/docker.sock",
        "gopher://127.0.0.1:6379/_x",
        "ftp://example.com/",
        "ws://localhost/",
        "wss://example.com/",
        "javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "https:example.com",
        "https:/example.com",
        "//example.com/",
        "example.com",
        "-https://example.com/",
        "$(calc)",
        "",
        "https://",
        "https:///path",
        "https://:443/",
    ],
)
def test_only_http_urls_of_a_host_are_urls_here(url, trust):
    with pytest.raises(BlockedAddress):
        RULES.judge_url(url, trust)


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize(
    "url",
    [
        "https://api.test@evil.example/",
        "https://user:secret@api.example.com/",
        "https://@api.example.com/",
        "https://api.test\\@evil.example/",
        "https:\\\\api.example.com/",
        "https://api.test%2eevil.example/",
        "https://api%00.example.com/",
        "https://api example.com/",
        " https://api.example.com/",
        "https://api.example.com/\r\nHost: evil",
        "https://api.example.com/\x00",
        "https://api.example.com/\x7f",
        "https://api.example.com/ü",
        "https://\uff41pi.example.com/",
        "https://api.example\u3002com/",
        "https://api..example.com/",
        "https://-api.example.com/",
        "https://api-.example.com/",
        "https://" + "a" * 64 + ".example.com/",
        "https://" + "a." * 130 + "example.com/",
        "https://api.example.com:/",
        "https://api.example.com:0/",
        "https://api.example.com:65536/",
        "https://api.example.com:443443/",
        "https://api.example.com:-1/",
        "https://api.example.com:4 43/",
        "https://api.example.com:443:443/",
        "https://api.example.com,evil.example/",
        "https://api.example.com;evil/",
        "https://[::1/",
        "https://::1/",
        "https://api.example.com/" + "a" * 20_000,
    ],
)
def test_a_url_that_two_programs_may_read_differently_is_refused(url, trust):
    with pytest.raises(BlockedAddress) as refused:
        RULES.judge_url(url, trust)
    assert "evil" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_url_with_a_user_is_told_where_credentials_go():
    with pytest.raises(BlockedAddress, match="Put credentials into the connection"):
        RULES.judge_url("https://user:secret@api.example.com/", Trust.OPERATOR)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://api.example.com", "api.example.com", "/"),
        ("https://API.example.com?a=b", "api.example.com", "/?a=b"),
        ("https://api.example.com/a/../b?x=%2F&y=//@#fragment", "api.example.com", "/a/../b?x=%2F&y=//@"),
        ("https://api.example.com/@evil", "api.example.com", "/@evil"),
        ("https://xn--mnchen-3ya.example/", "xn--mnchen-3ya.example", "/"),
        ("https://my_service.example/", "my_service.example", "/"),
        ("HTTPS://3com.example/", "3com.example", "/"),
    ],
)
def test_what_is_judged_is_what_is_sent(url, host, path):
    target = RULES.judge_url(url, Trust.CATALOGUE)
    assert (target.host, target.path) == (host, path)


def test_a_query_does_not_print():
    assert "canary" not in repr(RULES.judge_url("https://api.example.com/x?api_key=canary", Trust.CATALOGUE))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example.com:443/x?y#z", "https://api.example.com"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("http://localhost:80/", "http://localhost"),
        ("http://[0:0:0:0:0:0:0:1]:8080/", "http://[::1]:8080"),
        ("https://api.example.com:0443/", "https://api.example.com"),
    ],
)
def test_an_origin_has_one_form(url, origin):
    assert origin_of(url) == origin


def test_a_catalogue_url_stays_on_port_443_unless_the_port_is_listed():
    with pytest.raises(BlockedAddress, match="port 443"):
        RULES.judge_url("https://api.example.com:8443/", Trust.CATALOGUE)
    with pytest.raises(BlockedAddress, match="port 443"):
        AddressRules(["api.example.com"]).judge_url("https://api.example.com:8443/", Trust.CATALOGUE)
    rules = AddressRules(["api.example.com:8443"])
    assert rules.judge_url("https://api.example.com:8443/", Trust.CATALOGUE).port == 8443
    with pytest.raises(BlockedAddress):
        rules.judge_url("https://api.example.com:22/", Trust.CATALOGUE)


def test_the_operator_may_name_any_port():
    assert RULES.judge_url("https://idp.example.com:8443/", Trust.OPERATOR).port == 8443


@pytest.mark.parametrize("entry", ["db.corp", "DB.corp", "db.corp:443", "https://db.corp", "https://db.corp/"])
def test_a_private_host_opens_by_its_exact_name(entry):
    rules = AddressRules([entry])
    assert judge(["10.0.0.7"], Trust.OPERATOR, rules=rules, host="db.corp") == ("10.0.0.7",)
    for other in ("xdb.corp", "db.corp.example", "corp"):
        with pytest.raises(BlockedAddress):
            judge(["10.0.0.7"], Trust.OPERATOR, rules=rules, host=other)


def test_an_entry_with_a_port_opens_that_port_only():
    rules = AddressRules(["db.corp:8443"])
    assert judge(["10.0.0.7"], Trust.OPERATOR, rules=rules, host="db.corp", port=8443)
    with pytest.raises(BlockedAddress):
        judge(["10.0.0.7"], Trust.OPERATOR, rules=rules, host="db.corp", port=443)


def test_the_allow_list_opens_no_private_host_to_what_a_provider_said():
    rules = AddressRules(["db.corp", "10.0.0.7", "10.0.0.7:443"])
    with pytest.raises(BlockedAddress):
        judge(["10.0.0.7"], Trust.CATALOGUE, rules=rules, host="db.corp")
    with pytest.raises(BlockedAddress):
        rules.judge_url("https://10.0.0.7/", Trust.CATALOGUE)


def test_plain_http_to_a_private_host_is_spelled_out():
    with pytest.raises(BlockedAddress, match=r"http://box\.corp:8080 to allowed_hosts"):
        AddressRules(["box.corp"]).judge_url("http://box.corp:8080/", Trust.OPERATOR)
    rules = AddressRules(["http://box.corp:8080"])
    assert rules.judge_url("http://box.corp:8080/", Trust.OPERATOR).port == 8080
    assert judge(["10.0.0.7"], Trust.OPERATOR, rules=rules, host="box.corp", scheme="http", port=8080)
    with pytest.raises(BlockedAddress, match="public address"):
        judge(["93.184.216.34"], Trust.OPERATOR, rules=rules, host="box.corp", scheme="http", port=8080)


@pytest.mark.parametrize("address", METADATA)
def test_a_metadata_address_opens_by_its_own_name_only(address):
    by_name = AddressRules(["metadata.example"])
    with pytest.raises(BlockedAddress, match="credentials"):
        judge([address], Trust.OPERATOR, rules=by_name, host="metadata.example")
    listed = AddressRules(["metadata.example", address])
    assert judge([address], Trust.OPERATOR, rules=listed, host="metadata.example") == (address,)
    assert str(listed.judge_url(url_of(address), Trust.OPERATOR).address) == address
    with pytest.raises(BlockedAddress):
        listed.judge_url(url_of(address), Trust.CATALOGUE)


def test_a_wrapped_metadata_address_does_not_pass_for_a_listed_private_host():
    rules = AddressRules(["db.corp"])
    for address in WRAPPED_METADATA:
        with pytest.raises(BlockedAddress, match="credentials"):
            judge([address], Trust.OPERATOR, rules=rules, host="db.corp")


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize(
    "answer",
    [
        ["93.184.216.34", "10.0.0.1"],
        ["10.0.0.1", "93.184.216.34"],
        ["93.184.216.34", "127.0.0.1"],
        ["2606:2800:220:1::1", "::1"],
        ["93.184.216.34", "1.1.1.1", "169.254.169.254"],
        ["127.0.0.1", "10.0.0.1"],
    ],
)
def test_a_mixed_answer_is_refused_whole(answer, trust):
    with pytest.raises(BlockedAddress):
        judge(answer, trust)


def test_public_addresses_keep_the_resolvers_order():
    answer = ["2606:2800:220:1::1", "93.184.216.34", "93.184.216.34"]
    assert judge(answer, Trust.CATALOGUE) == ("2606:2800:220:1::1", "93.184.216.34")


def test_a_public_address_behind_nat64_may_be_called():
    # RFC 6052 §2.4 writes 192.0.2.33 as 64:ff9b::192.0.2.33; 93.184.216.34 is 5db8:d822.
    assert judge(["64:ff9b::5db8:d822"], Trust.CATALOGUE) == ("64:ff9b::5db8:d822",)


@pytest.mark.parametrize(
    "entry", ["", " ", "*", "*.corp", "10.0.0.0/8", "a b", "https://x/y", "http://u@x", "ftp://x", "x/y", "x#y", "x?y"]
)
def test_an_entry_that_is_no_host_is_refused_at_once(entry):
    with pytest.raises(InvalidSetting, match="allowed_hosts"):
        AddressRules([entry])


@pytest.mark.parametrize("entry", ["fd12::1", "[fd12::1]", "[fd12::1]:8443", "[FD12:0::1]:8443"])
def test_an_ipv6_address_may_be_listed(entry):
    rules = AddressRules([entry])
    assert rules.judge_url("https://[fd12::1]:8443/", Trust.OPERATOR).origin == "https://[fd12::1]:8443"


def test_a_place_that_was_good_is_good_for_that_trust_scheme_and_port_alone(monkeypatch):
    monkeypatch.setattr("valetkey.adapters.addresses.MOST_GOOD", 2)
    rules = AddressRules(["db.corp:8443"])
    for _ in range(2):
        for path in ("/", "/another?q"):
            assert rules.judge_url(f"http://127.0.0.1:8080{path}", Trust.OPERATOR).path == path
            assert rules.judge_url(f"https://db.corp:8443{path}", Trust.CATALOGUE).path == path
        for url, trust in [
            ("http://127.0.0.1:8080/", Trust.CATALOGUE),
            ("http://db.corp:8443/", Trust.CATALOGUE),
            ("https://db.corp:8444/", Trust.CATALOGUE),
        ]:
            with pytest.raises(BlockedAddress):
                rules.judge_url(url, trust)
    with pytest.raises(BlockedAddress):
        AddressRules().judge_url("https://db.corp:8443/", Trust.CATALOGUE)
    rules.judge_url("https://api.example.com/", Trust.CATALOGUE)
    assert len(rules._good) <= 2


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_we_call_public_the_standard_library_calls_global(address):
    if reach_of(address) is Reach.PUBLIC:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_no_wrapping_makes_an_address_reach_further(inner):
    wrappings = [
        ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(inner))
        for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "2606:2800::5efe:0:0")
    ]
    for wrapped in wrappings:
        if reach_of(wrapped) is Reach.PUBLIC:
            assert reach_of(inner) is Reach.PUBLIC


@given(st.text(max_size=60) | st.from_regex(r"https?://[\w.:@\[\]%\\-]{0,30}(/.*)?", fullmatch=True))
def test_any_text_is_judged_or_refused(text):
    try:
        target = RULES.judge_url(text, Trust.CATALOGUE)
    except BlockedAddress:
        return
    assert target.scheme == "https"
    assert origin_of(target.origin + target.path) == target.origin
