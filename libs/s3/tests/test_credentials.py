"""Root keys are checked when they are configured, and secrets stay out of sight."""

import pytest

from liteio_s3.credentials import Credential, InvalidRootCredentials, RootCredentials


def test_the_root_key_is_found_and_no_other() -> None:
    root = RootCredentials("abc", "12345678", owner_id="owner")
    assert root.find("abc") == Credential("abc", "12345678", "owner")
    for other in ("", "ab", "abcd", "ABC", "é", "\ud800"):
        assert root.find(other) is None


@pytest.mark.parametrize(
    ("access_key", "secret_key"),
    [
        ("ab", "12345678"),
        ("abc", "1234567"),
        ("", ""),
        ("a/c", "12345678"),
        ("a,c", "12345678"),
        ("a c", "12345678"),
        ("abé", "12345678"),
        ("ab\n", "12345678"),
        ("abc", " 2345678"),
        ("abc", "1234567\n"),
        ("abc", "1234\x005678"),
    ],
)
def test_unusable_root_keys_are_refused_without_being_told(access_key: str, secret_key: str) -> None:
    with pytest.raises(InvalidRootCredentials) as raised:
        RootCredentials(access_key, secret_key)
    assert not secret_key or secret_key not in str(raised.value)


def test_no_secret_shows() -> None:
    shown = repr(Credential("abc", "the-secret", "owner", session_token="the-token"))
    assert "the-" not in shown
