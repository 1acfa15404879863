import pytest

from liteio_s3.errors import S3Failure
from liteio_s3.unsupported import refuse_unsupported, unsupported_header


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "x"),
        ("x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-bucket-object-lock-enabled", "true"),
        ("x-amz-object-ownership", "ObjectWriter"),
        ("x-amz-grant-read", "id=x"),
        ("x-amz-mfa", "1 2"),
        ("x-amz-if-match-size", "3"),
    ],
)
def test_a_promise_that_is_not_kept_is_refused(name: str, value: str) -> None:
    headers = {"content-type": "a/b", name: value}
    assert unsupported_header(headers) == name
    with pytest.raises(S3Failure) as caught:
        refuse_unsupported(headers)
    assert (caught.value.code, caught.value.fields) == ("NotImplemented", {"Header": name})


def test_what_holds_anyway_passes() -> None:
    refuse_unsupported(
        {
            "x-amz-bucket-object-lock-enabled": "false",
            "x-amz-object-ownership": "BucketOwnerEnforced",
            "x-amz-request-payer": "requester",
            "x-amz-meta-grant-read": "x",
            "x-amz-copy-source": "a/b",
        }
    )
