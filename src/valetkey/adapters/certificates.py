"""A self-made certificate for loopback, renewed before it ends."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import ssl
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from valetkey.errors import InvalidSetting
from valetkey.ports.world import Clock

_LIFE = timedelta(days=90)  # browsers take at most 398
_EARLY = timedelta(days=15)
_BACKDATED = timedelta(minutes=5)  # a clock elsewhere on this machine (a container, a VM) may run behind
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class LoopbackCertificate:
    """A certificate for this machine's own names, made at first need and kept in ``<home>/tls``.

    Key and certificate are in one file, which is replaced as a whole, so they always fit each other; a lock
    makes processes that start together use the same one. A browser asks once whether to trust it.

    Args:
        home: the data folder (``VALETKEY_HOME``).
        host: the host name of the public address; a certificate made for another one is replaced.
    """

    def __init__(self, *, home: Path, clock: Clock, host: str = "localhost") -> None:
        self._home = home
        self._folder = home / "tls"
        self._clock = clock
        self._names = frozenset({*_LOOPBACK, _dns_name(host)})
        self._renew_at = 0.0
        self._current: ssl.SSLContext | None = None

    @property
    def path(self) -> Path:
        """The file with the key and the certificate, in PEM."""
        return self._folder / "loopback.pem"

    @property
    def public_path(self) -> Path:
        """The certificate alone, for those who wish to trust it."""
        return self._folder / "loopback.crt"

    def context(self) -> ssl.SSLContext:
        """For a server: TLS 1.2 or newer. While it is in use, a handshake in the last 15 days renews.

        Raises:
            InvalidSetting: the folder cannot be written.
        """
        context = self._load()
        context.sni_callback = self._at_handshake
        return context

    def _at_handshake(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._clock.now() >= self._renew_at:
            with suppress(InvalidSetting):  # what is at hand may still do: the client decides
                self._load()
        if self._current is not None:
            connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            with self._locked():
                end = self._kept_until() or self._make()
                context.load_cert_chain(self.path)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise InvalidSetting(
                f"The certificate for https on this machine cannot be kept in {self._folder} ({reason}). "
                "Let this user write there, or set VALETKEY_HOME to another folder."
            ) from error
        self._renew_at = (end - _EARLY).timestamp()
        self._current = context
        return context

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder is there, ours alone, and no other process or thread changes what is in it."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._folder.chmod(0o700)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _kept_until(self) -> datetime | None:
        """The end of the certificate that is kept; None: there is none, or none that may go on serving."""
        try:
            if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
                return None  # others could read the key
            kept = self.path.read_bytes()
            certificate = x509.load_pem_x509_certificate(kept)
            key = serialization.load_pem_private_key(kept, password=None)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound):
            return None
        end = certificate.not_valid_after_utc
        good = (
            certificate.public_key() == key.public_key()
            and {str(name.value) for name in names} == self._names
            and certificate.not_valid_before_utc <= self._now() < end - _EARLY
        )
        return end if good else None

    def _make(self) -> datetime:
        """A new key and its certificate (RFC 5280 §4.1), saved; its end."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Valetkey on this machine")])
        now = self._now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _LIFE)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in sorted(self._names)]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_SIGNS_ONLY, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        public = certificate.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _replace(self.path, private + public, 0o600)
        _replace(self.public_path, public, 0o644)
        return certificate.not_valid_after_utc

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


_SIGNS_ONLY = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _dns_name(host: str) -> str:
    """The host as a certificate names it."""
    try:
        return host.strip("[]").lower().encode("idna").decode()
    except UnicodeError as error:
        raise InvalidSetting(f"{host!r} is no host name: correct the public address in settings.") from error


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file as a whole: a reader sees the old one or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
