"""Signing: keys by which a service knows that a token comes from one of its own.

A token says who is the parent of whom, and whoever can send one can put runs into anybody's tree. Where an edge is
public, tokens are signed: 128 bits of HMAC-SHA256 over the whole token travel beside it, with the id of the key.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, final

from agent_run_id.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

__all__ = ["KEYS_VARIABLE", "SigningKeys"]

KEYS_VARIABLE: Final = "AGENT_RUN_SIGNING_KEYS"

_MIN_SECRET: Final = 16
_MAX_KEY_ID: Final = 64
_MAX_SIGNATURE: Final = _MAX_KEY_ID + 1 + 22
_KEY_ID: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_FORM: Final = "a key is '<id>:<secret>', one to a line, the one to sign with first"


@final
class SigningKeys:
    """The keys of a service: the first one signs, all of them verify.

    To rotate, give every service the new key in second place, then in first, and take the old one away once no token
    that it signed is on its way any more.

    Args:
        keys: Secrets by key id, in order. An id has 1 to 64 characters of ``A-Z a-z 0-9 _ -`` and is sent in the open.
            A secret has at least 16 bytes; a text counts as its UTF-8.

    Raises:
        ConfigurationError: (a `ValueError`) there is no key, or one of them cannot be used.
    """

    __slots__ = ("_first", "_secrets")

    def __init__(self, keys: Mapping[str, bytes | str]) -> None:
        secrets = {key_id: _checked(number, key_id, secret) for number, (key_id, secret) in enumerate(keys.items(), 1)}
        if not secrets:
            raise ConfigurationError("there is no key to sign with: give at least one")
        self._secrets = secrets
        self._first = next(iter(secrets))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read keys from a file of lines ``<id>:<secret>``; empty lines and those that begin with ``#`` are skipped.

        Raises:
            ConfigurationError: (a `ValueError`) a line is no key, or there is none.
            OSError: the file cannot be read.
        """
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs 5 ms to import
            # What is no UTF-8 stays the bytes it is; the error of the codec would hold the whole file.
            return cls._parsed(file.read().decode("utf-8-sig", "surrogateescape"), os.fspath(path))

    @classmethod
    def from_environment(cls, variable: str = KEYS_VARIABLE) -> Self:
        """Read keys from an environment variable, in the form of `from_file`; commas may separate them too.

        Raises:
            ConfigurationError: (a `ValueError`) it is not set, or something in it is no key.
        """
        text = os.environ.get(variable)
        if not text:
            raise ConfigurationError(f"{variable} is not set: {_FORM}")
        return cls._parsed(text.replace(",", "\n"), variable)

    @classmethod
    def _parsed(cls, text: str, source: str) -> Self:
        keys: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            entry = line.strip()
            if not entry or entry.startswith("#"):
                continue
            key_id, colon, secret = entry.partition(":")
            if not colon or key_id in keys:  # never show the line: it may be a secret
                problem = "is there twice" if colon else "has no ':'"
                raise ConfigurationError(f"line {number} of {source} {problem}: {_FORM}")
            keys[key_id] = secret
        return cls(keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys; the first one signs."""
        return tuple(self._secrets)

    def sign(self, token: str) -> str:
        """The signature of a token: ``<key id>.<22 characters>``."""
        return f"{self._first}.{_digest(self._secrets[self._first], token)}"

    def problem(self, token: str, signature: str | None) -> str | None:
        """What is wrong with the signature of a token, in a word and a sentence; None when it is good."""
        if signature is None:
            return "unsigned: keys are configured, and the token came without a signature"
        if len(signature) > _MAX_SIGNATURE:
            return f"forged: a signature has at most {_MAX_SIGNATURE} characters, and this one has {len(signature)}"
        key_id, _, digest = signature.partition(".")
        secret = self._secrets.get(key_id)
        if secret is None:
            return f"unknown key: it is signed with {key_id!r}, and the keys here are {self.key_ids}"
        from hmac import compare_digest

        if not compare_digest(_digest(secret, token).encode(), digest.encode("utf-8", "replace")):
            return f"forged: the signature with key {key_id!r} is not that of the token"
        return None

    def __repr__(self) -> str:
        return f"<SigningKeys {', '.join(self._secrets)}>"


def _checked(number: int, key_id: object, secret: object) -> bytes:
    # By number: whoever swaps the two has a secret where the id should be, and this goes into a log.
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MAX_KEY_ID or key_id.strip(_KEY_ID):
        raise ConfigurationError(
            f"the id of key {number} is not 1 to {_MAX_KEY_ID} characters of A-Z a-z 0-9 _ -: {_FORM}"
        )
    if isinstance(secret, str):
        with suppress(UnicodeEncodeError):  # which would hold the secret
            secret = secret.encode("utf-8", "surrogateescape")
    if not isinstance(secret, bytes) or len(secret) < _MIN_SECRET:
        raise ConfigurationError(
            f"the secret of key {number} is too short or no text: at least {_MIN_SECRET} bytes, such as "
            "secrets.token_hex(32)"
        )
    return secret


def _digest(secret: bytes, token: str) -> str:
    import hmac  # here: it costs 3 ms to import, and only those who sign need it
    from binascii import b2a_base64

    half = hmac.digest(secret, token.encode("utf-8", "surrogatepass"), "sha256")[:16]
    return b2a_base64(half, newline=False).rstrip(b"=").translate(_URL_SAFE).decode()


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
