"""Environment, and several sources as one: where root keys come from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import chain

from valetkey.adapters.keylines import decode, key_id, weakness
from valetkey.errors import InvalidSetting, KeyUnavailable
from valetkey.ports.world import Key, KeySource
from valetkey.secret import Secret

_MAKE = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


class EnvironmentKey:
    """Keys that the operator gives as text: 32 random bytes each, base64url or hexadecimal, commas between.

    The first one writes. A key has the same id here as in a key file, and may move from one to the other.
    ``first`` is the number of the first one within the setting, for messages.

    Raises:
        InvalidSetting: a key is too short, too long, or not random; the text says how to make one.
    """

    def __init__(self, value: Secret, *, name: str = "VALETKEY_VAULT_KEY", first: int = 1) -> None:
        keys = []
        for number, text in enumerate(value.reveal().split(","), start=first):
            material = decode(text.strip())
            if material is None:
                problem = "is not 32 bytes in base64url or hexadecimal"
                raise InvalidSetting(f"Key {number} in {name} {problem}. Make one by: {_MAKE}")
            if problem := weakness(material):
                raise InvalidSetting(f"Key {number} in {name} {problem}. Make one by: {_MAKE}")
            keys.append(Key(id=key_id(material), material=material, source="environment"))
        self._keys = tuple(keys)
        self._name = name

    @property
    def name(self) -> str:
        """The name of the setting."""
        return self._name

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        """The keys in the order given."""
        return self._keys

    def stamp(self) -> Hashable:
        """Always the same: what a process was started with does not change."""
        return None

    def add(self) -> Key:
        """Refuse.

        Raises:
            KeyUnavailable: always; the text says how a key is added by hand.
        """
        raise KeyUnavailable(
            f"A key in {self._name} is added by hand. Make one by: {_MAKE} Put it first, with a comma between it and"
            " the present one, restart every process, then run: valetkey vault rotate --reseal-only"
        )

    def remove(self, key_id: str) -> None:
        """Refuse.

        Raises:
            KeyUnavailable: always; the text says how a key is removed by hand.
        """
        raise KeyUnavailable(f"Key {key_id} stands in {self._name}. Take it out there, and restart every process.")


class SeveralKeys:
    """Several sources as one, as while keys move from one to another: the first source's first key writes."""

    def __init__(self, sources: Sequence[KeySource]) -> None:
        self._sources = tuple(sources)

    @property
    def name(self) -> str:
        """All their names."""
        return ", then ".join(source.name for source in self._sources)

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        """The keys of all, each once, in the order of the sources.

        Raises:
            KeyUnavailable: one of them cannot be read.
        """
        found: dict[str, Key] = {}
        for key in chain.from_iterable(source.keys(make=make) for source in self._sources):
            found.setdefault(key.id, key)
        return tuple(found.values())

    def stamp(self) -> Hashable:
        """All their stamps."""
        return tuple(source.stamp() for source in self._sources)

    def add(self) -> Key:
        """Make a new key in the first source.

        Raises:
            KeyUnavailable: that source is changed by hand, or cannot keep it.
        """
        return self._sources[0].add()

    def remove(self, key_id: str) -> None:
        """Forget a key wherever it is.

        Raises:
            KeyUnavailable: it writes, or where it is is changed by hand.
        """
        keys = self.keys()
        if keys and keys[0].id == key_id:
            raise KeyUnavailable(f"The key {key_id} writes: it cannot be removed. Add another one first.")
        for source, held in [(source, source.keys()) for source in self._sources]:
            if any(key.id == key_id for key in held):
                source.remove(key_id)
