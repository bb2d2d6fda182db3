"""AWS KMS: root keys that KMS makes and wraps; their ciphertext is kept in the key file, and they only in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

from valetkey.adapters.keylines import SIZE, Line, key_id, line, lines_of
from valetkey.adapters.keys_file import KeyFile, plain_key
from valetkey.errors import KeyUnavailable
from valetkey.ports.world import Clock, Entropy, Key

CONTEXT = {"purpose": "valetkey vault key"}
"""What each ciphertext is bound to, and what KMS writes into its own log (the encryption context)."""

_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
_CONNECT, _READ, _ATTEMPTS = 2.0, 3.0, 2
_WHY = {
    "NoCredentialsError": "there are no AWS credentials. Give them as for any AWS program (AWS_PROFILE, a role)",
    "NoRegionError": "no region is set. Set AWS_REGION",
    "AccessDeniedException": "this account may not use it. Allow kms:GenerateDataKey and kms:Decrypt on it",
    "NotFoundException": "there is no such key. Check its name, the account and AWS_REGION",
    "InvalidCiphertextException": "the key file's ciphertext is damaged, or another KMS made it. Restore its copy",
    "DisabledException": "that key is disabled. Enable it",
    "KMSInvalidStateException": "that key is not in use (disabled, or to be deleted). Enable it, or cancel that",
}
_SILENT = "it does not answer. Check the network, AWS_REGION and AWS_ENDPOINT_URL; it is asked again by itself"


class KmsKeys:
    """Envelope encryption: each line of the key file holds what KMS made of a root key (GenerateDataKey).

    The file is of no use to whoever may not ask KMS. What KMS opened once stays in this process's memory, so that
    it goes on working while KMS cannot be reached; a start needs KMS. Lines that no KMS wrapped are read, too:
    keys that were in the file before. Credentials, region and endpoint are those of boto3's own environment.

    Args:
        key: the KMS key: its id, ARN, or ``alias/…``.
    """

    def __init__(self, key: str, *, path: Path, entropy: Entropy, clock: Clock) -> None:
        self._key = key
        self._file = KeyFile(path, entropy=entropy)
        self._clock = clock
        self._connected: Any = None
        self._opened: dict[str, bytes] = {}
        self._pause = 0.0
        self._asked_again_at = 0.0
        self._failure = ""

    @property
    def name(self) -> str:
        """The KMS key, and the file."""
        return f"AWS KMS ({self._key}), wrapped in {self._file.path}"

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        """All keys of the file; KMS is asked about those lines that this process has not opened yet.

        Raises:
            KeyUnavailable: KMS cannot be used, or the file cannot; the text says which.
        """
        found = self._file.lines((lambda: self._fresh()[0]) if make else None)
        keys = tuple(self._open(each) if each.wrapped else plain_key(self._file, each) for each in found)
        bodies = {each.body for each in found}
        self._opened = {body: material for body, material in self._opened.items() if body in bodies}
        return keys

    def stamp(self) -> Hashable:
        """What changes with the file."""
        return self._file.stamp()

    def add(self) -> Key:
        """Have KMS make a new key, and put its ciphertext first; on the disk when this returns.

        Raises:
            KeyUnavailable: KMS cannot be used, or the file cannot be written.
        """
        self.keys()
        text, material = self._fresh()
        self._file.add(text)
        (made,) = (each for each in lines_of(text) if isinstance(each, Line))
        return Key(id=made.id, material=material, created_at=made.created_at, source="aws-kms")

    def remove(self, key_id: str) -> None:
        """Take a key's ciphertext out of the file.

        Raises:
            KeyUnavailable: it is the first one, or the file cannot be written.
        """
        self._file.remove(key_id)

    def _fresh(self) -> tuple[str, bytes]:
        made = self._ask(
            lambda kms: kms.generate_data_key(KeyId=self._key, NumberOfBytes=SIZE, EncryptionContext=CONTEXT)
        )
        material: bytes = made["Plaintext"]
        text = line(material, now=self._clock.now(), ciphertext=made["CiphertextBlob"])
        self._opened[text.split()[2]] = material
        return text, material

    def _open(self, found: Line) -> Key:
        material = self._opened.get(found.body)
        if material is None:
            ciphertext = found.ciphertext()
            if ciphertext is None:
                raise self._file.damaged(found.number)
            opened = self._ask(lambda kms: kms.decrypt(CiphertextBlob=ciphertext, EncryptionContext=CONTEXT))
            material = opened["Plaintext"]
        if key_id(material) != found.id:
            raise self._file.damaged(found.number)
        self._opened[found.body] = material
        return Key(id=found.id, material=material, created_at=found.created_at, source="aws-kms")

    def _ask(self, question: Callable[[Any], Any]) -> Mapping[str, Any]:
        try:
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - heavy, and an extra
        except ImportError:
            raise KeyUnavailable("AWS KMS needs the library boto3. Run: pip install 'valetkey[aws]'") from None
        if self._clock.monotonic() < self._asked_again_at:
            raise KeyUnavailable(self._failure)  # a KMS that does not answer is not waited for again and again
        try:
            found: Mapping[str, Any] = question(self._client())
        except (BotoCoreError, ClientError) as error:
            code = type(error).__name__
            if isinstance(error, ClientError):
                code = error.response.get("Error", {}).get("Code", code)
            self._failure = f"AWS KMS ({self._key}) cannot be used: {_WHY.get(code, f'{_SILENT} ({code})')}."
            self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE)
            self._asked_again_at = self._clock.monotonic() + self._pause
            raise KeyUnavailable(self._failure) from error
        self._pause = self._asked_again_at = 0.0
        return found

    def _client(self) -> Any:
        if self._connected is None:
            import boto3  # noqa: PLC0415 - heavy, and an extra
            from botocore.config import Config  # noqa: PLC0415 - as above

            limits = Config(
                connect_timeout=_CONNECT,
                read_timeout=_READ,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            )
            self._connected = boto3.session.Session().client("kms", config=limits)
        return self._connected
