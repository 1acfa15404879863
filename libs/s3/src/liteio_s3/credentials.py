"""Whose key is this: the seam between signature checks and wherever credentials live."""

from dataclasses import dataclass, field
from typing import Final, Protocol

ACCESS_KEY_CHARACTERS_MIN: Final = 3  # the floors that MinIO sets for its root user
SECRET_KEY_CHARACTERS_MIN: Final = 8
ROOT_OWNER_ID: Final = "root"


@dataclass(frozen=True, slots=True)
class Credential:
    """One key pair. Secrets never show in its repr, so that no log line or trace can hold them.

    `session_token` is set for temporary credentials, whose requests must carry it. `expires_at_ns` counts nanoseconds
    since 1970; None never expires. `owner_id` is the canonical id that listings and ACLs show.
    """

    access_key: str
    secret_key: str = field(repr=False)
    owner_id: str
    session_token: str | None = field(default=None, repr=False)
    expires_at_ns: int | None = None


class CredentialSource(Protocol):
    """Where signature checks find keys. Answers from memory at once: every request asks, before any trust."""

    def find(self, access_key: str) -> Credential | None:
        """The credential with this access key, or None. Never raises for any text."""


class InvalidRootCredentials(ValueError):
    """The configured root keys cannot be used; the message says why and holds neither."""


class RootCredentials:
    """The one key pair of the store's owner, from its settings."""

    def __init__(self, access_key: str, secret_key: str, *, owner_id: str = ROOT_OWNER_ID) -> None:
        """Raises InvalidRootCredentials for keys that are too short, or could not be written in a signed request."""
        _check_root_keys(access_key, secret_key)
        self._credential = Credential(access_key, secret_key, owner_id)

    def find(self, access_key: str) -> Credential | None:
        return self._credential if access_key == self._credential.access_key else None


def _check_root_keys(access_key: str, secret_key: str) -> None:
    if len(access_key) < ACCESS_KEY_CHARACTERS_MIN:
        raise InvalidRootCredentials(f"the root access key needs at least {ACCESS_KEY_CHARACTERS_MIN} characters")
    if len(secret_key) < SECRET_KEY_CHARACTERS_MIN:
        raise InvalidRootCredentials(f"the root secret key needs at least {SECRET_KEY_CHARACTERS_MIN} characters")
    # These delimit an access key in the credential scope and the Authorization header.
    if not access_key.isascii() or not access_key.isprintable() or any(mark in access_key for mark in "/,;= "):
        raise InvalidRootCredentials("the root access key must be printable ASCII without / , ; = or a space")
    if secret_key != secret_key.strip() or not secret_key.isprintable():
        raise InvalidRootCredentials("the root secret key must be printable, with no space around it")
