"""The certificate for https on loopback."""

import asyncio
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from valetkey.adapters.certificates import LoopbackCertificate
from valetkey.errors import InvalidSetting
from valetkey.testing.clock import ManualClock

DAY = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def made(home: Path, clock: ManualClock, host: str = "localhost") -> LoopbackCertificate:
    certificate = LoopbackCertificate(home=home, clock=clock, host=host)
    certificate.context()
    return certificate


def read(certificate: LoopbackCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.path.read_bytes())


def serial(certificate: LoopbackCertificate) -> int:
    return read(certificate).serial_number


def test_it_names_this_machine_only_and_lives_ninety_days(home: Path, clock: ManualClock) -> None:
    certificate = read(made(home, clock))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost"}
    assert set(names.get_values_for_type(x509.IPAddress)) == {ip_address("127.0.0.1"), ip_address("::1")}
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert certificate.not_valid_after_utc.timestamp() == int(clock.now() + 90 * DAY)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)


def test_the_key_is_for_this_user_only(home: Path, clock: ManualClock) -> None:
    certificate = made(home, clock)
    assert stat.S_IMODE(certificate.path.stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "tls").stat().st_mode) == 0o700
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert b"PRIVATE" not in certificate.public_path.read_bytes()
    assert {path.name for path in (home / "tls").iterdir()} == {"loopback.pem", "loopback.crt", "lock"}


def test_it_is_kept_until_fifteen_days_are_left_then_renewed(home: Path, clock: ManualClock) -> None:
    first = serial(made(home, clock))
    clock.advance(75 * DAY - 1)
    assert serial(made(home, clock)) == first
    clock.advance(1)
    second = made(home, clock)
    assert serial(second) != first
    assert read(second).not_valid_after_utc.timestamp() == int(clock.now() + 90 * DAY)


def test_one_from_the_future_is_made_again(home: Path, clock: ManualClock) -> None:
    first = serial(made(home, clock))
    clock.jump(-DAY)
    assert serial(made(home, clock)) != first


def test_another_host_name_gets_a_certificate_of_its_own(home: Path, clock: ManualClock) -> None:
    first = serial(made(home, clock))
    second = made(home, clock, host="Keys.example.test")
    names = read(second).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "keys.example.test" in names.get_values_for_type(x509.DNSName)
    assert serial(second) != first
    assert serial(made(home, clock, host="127.0.0.1")) != serial(made(home, clock, host="keys.example.test"))


def test_a_key_that_does_not_fit_is_made_again(home: Path, clock: ManualClock) -> None:
    certificate = made(home, clock)
    first = serial(certificate)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate.path.write_bytes(other + certificate.public_path.read_bytes())
    assert serial(made(home, clock)) != first


@pytest.mark.parametrize("kept", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\x00" * 40])
def test_a_file_that_is_none_is_made_again(home: Path, clock: ManualClock, kept: bytes) -> None:
    certificate = made(home, clock)
    certificate.path.write_bytes(kept)
    assert isinstance(serial(made(home, clock)), int)


def test_a_half_written_file_is_made_again(home: Path, clock: ManualClock) -> None:
    certificate = made(home, clock)
    whole = certificate.path.read_bytes()
    certificate.path.write_bytes(whole[: len(whole) // 2])
    made(home, clock)
    assert len(certificate.path.read_bytes()) > len(whole) // 2


def test_a_key_that_others_could_read_is_given_up(home: Path, clock: ManualClock) -> None:
    certificate = made(home, clock)
    first = serial(certificate)
    certificate.path.chmod(0o640)
    assert serial(made(home, clock)) != first
    assert stat.S_IMODE(certificate.path.stat().st_mode) == 0o600


def test_a_folder_that_others_could_enter_is_closed(home: Path, clock: ManualClock) -> None:
    (home / "tls").mkdir(parents=True)
    (home / "tls").chmod(0o755)
    made(home, clock)
    assert stat.S_IMODE((home / "tls").stat().st_mode) == 0o700


def test_those_who_start_at_once_use_the_same_one(home: Path, clock: ManualClock) -> None:
    together = threading.Barrier(8)

    def start(_: int) -> int:
        certificate = LoopbackCertificate(home=home, clock=clock)
        together.wait(10)
        certificate.context()
        return serial(certificate)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it_and_the_setting(
    tmp_path: Path, clock: ManualClock
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InvalidSetting, match=r"tls.*VALETKEY_HOME"):
        made(tmp_path / "file", clock)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test"])
def test_a_host_name_that_is_none_is_an_error_of_ours(home: Path, clock: ManualClock, host: str) -> None:
    with pytest.raises(InvalidSetting, match="no host name"):
        LoopbackCertificate(home=home, clock=clock, host=host)
    assert not home.exists()


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> x509.Certificate:
    """A whole TLS handshake in memory; the certificate that the client saw."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = client.wrap_bio(to_client, to_server, server_hostname=name)
    outside = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [inside, outside]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting
    seen = inside.getpeercert(binary_form=True)
    assert seen is not None
    return x509.load_der_x509_certificate(seen)


def trusting(certificate: LoopbackCertificate) -> ssl.SSLContext:
    client = ssl.create_default_context(cafile=certificate.public_path)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    return client


@pytest.fixture
def today() -> ManualClock:
    """OpenSSL checks dates by the machine's own clock."""
    import time

    return ManualClock(start=time.time())


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_it_connects_under_each_name(home: Path, today: ManualClock, name: str) -> None:
    certificate = LoopbackCertificate(home=home, clock=today)
    context = certificate.context()
    assert handshake(context, trusting(certificate), name) == read(certificate)


def test_a_client_that_does_not_trust_it_or_asks_for_another_name_is_refused(home: Path, today: ManualClock) -> None:
    certificate = LoopbackCertificate(home=home, clock=today)
    context = certificate.context()
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        handshake(context, ssl.create_default_context(), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(context, trusting(certificate), "example.test")


def test_a_server_that_keeps_running_renews_at_a_handshake(home: Path, today: ManualClock) -> None:
    certificate = LoopbackCertificate(home=home, clock=today)
    context = certificate.context()
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    first = handshake(context, unchecked, "localhost")
    today.advance(75 * DAY)
    second = handshake(context, unchecked, "localhost")
    third = handshake(context, unchecked, "127.0.0.1")
    assert first != second
    assert second == third == read(certificate)


def test_a_renewal_that_fails_leaves_the_old_one_in_use(home: Path, today: ManualClock) -> None:
    certificate = LoopbackCertificate(home=home, clock=today)
    context = certificate.context()
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    first = handshake(context, unchecked, "localhost")
    (home / "tls").rename(home / "moved")
    (home / "tls").write_text("in the way")
    today.advance(80 * DAY)
    assert handshake(context, unchecked, "localhost") == first


def test_old_protocols_are_refused(home: Path, today: ManualClock) -> None:
    certificate = LoopbackCertificate(home=home, clock=today)
    assert certificate.context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_an_rsa_key_from_elsewhere_is_replaced(home: Path, clock: ManualClock) -> None:
    certificate = made(home, clock)
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    certificate.path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
        + certificate.public_path.read_bytes()
    )
    assert isinstance(read(made(home, clock)).public_key(), ec.EllipticCurvePublicKey)


def test_nothing_is_written_before_it_is_needed(home: Path, clock: ManualClock) -> None:
    LoopbackCertificate(home=home, clock=clock)
    assert not home.exists()


def test_making_one_does_not_hold_the_loop_for_long(home: Path, clock: ManualClock) -> None:
    async def make() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        made(home, clock)
        return loop.time() - begun

    assert asyncio.run(make()) < 1
