import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_s3.errors import S3Failure
from liteio_s3.tags import Tag, check_object_tags, parse_tagging_header


def code_of(tags: list[Tag]) -> str:
    with pytest.raises(S3Failure) as caught:
        check_object_tags(tags)
    return caught.value.code


@pytest.mark.parametrize(
    "tag",
    [Tag("k" * 128, "v" * 256), Tag("é _.:/=+-@9", ""), Tag("𝒜" * 64, "𝒜" * 128), Tag("aws", "aws:x")],
)
def test_tags_within_their_limits_are_taken(tag: Tag) -> None:
    check_object_tags([tag])


@pytest.mark.parametrize(
    "tags",
    [
        [Tag("", "v")],
        [Tag("k" * 129, "v")],
        [Tag("k", "v" * 257)],
        [Tag("𝒜" * 65, "v")],
        [Tag("k", "𝒜" * 129)],
        [Tag("k#", "v")],
        [Tag("k", "a\nb")],
        [Tag("aws:k", "v")],
        [Tag("AWS:k", "v")],
        [Tag("k", "1"), Tag("k", "2")],
    ],
)
def test_other_tags_are_invalid(tags: list[Tag]) -> None:
    assert code_of(tags) == "InvalidTag"


def test_the_header_is_a_form() -> None:
    assert parse_tagging_header("a=b&c%2B=d%20e+f&g=&h") == (
        Tag("a", "b"),
        Tag("c+", "d e f"),
        Tag("g", ""),
        Tag("h", ""),
    )
    assert parse_tagging_header("") == ()


@pytest.mark.parametrize("header", ["a=1&a=2", "a=%ff", "a=" + "b" * 9000])
def test_a_malformed_header_is_an_invalid_argument(header: str) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_tagging_header(header)
    assert caught.value.code == "InvalidArgument"
    assert caught.value.fields["ArgumentName"] == "x-amz-tagging"


def test_the_header_has_the_same_limits() -> None:
    with pytest.raises(S3Failure) as caught:
        parse_tagging_header("&".join(f"k{number}=v" for number in range(11)))
    assert caught.value.code == "BadRequest"


@given(st.text(max_size=300))
def test_any_header_is_read_or_refused(header: str) -> None:
    try:
        tags = parse_tagging_header(header)
    except S3Failure:
        return
    assert len(tags) <= 10
