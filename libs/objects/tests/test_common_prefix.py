"""Which markers are common prefixes: everything below one was told, everything below another marker was not."""

import pytest

from liteio_objects.upload_listing import is_common_prefix


@pytest.mark.parametrize(
    ("after", "prefix", "delimiter", "is_one"),
    [
        ("", "", "/", False),  # the first page
        ("a", "a", "/", False),
        ("k", "", "//", False),  # one sign shorter than the delimiter, and without it
        ("", "", "", False),
        ("a/", "", "/", True),
        ("a/b", "", "/", False),
        ("a/b/", "", "/", False),
        ("a/b/", "a/", "/", True),
        ("b/", "a/", "/", False),
        ("a::", "", "::", True),
    ],
)
def test_only_a_marker_that_ends_at_the_first_delimiter_behind_the_prefix_is_one(
    after: str, prefix: str, delimiter: str, is_one: bool
) -> None:
    assert is_common_prefix(after, prefix, delimiter) is is_one
