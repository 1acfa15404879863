import hmac

from hypothesis import given
from hypothesis import strategies as st

from liteio_s3.signing import sign


@given(st.binary(max_size=64), st.binary(max_size=300), st.binary(max_size=300))
def test_a_signature_is_the_hmac_whatever_was_signed_before(key: bytes, before: bytes, message: bytes) -> None:
    sign(key, before)
    assert sign(key, message) == hmac.digest(key, message, "sha256").hex().encode()
