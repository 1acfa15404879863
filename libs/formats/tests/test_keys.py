from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import UploadId
from liteio_formats.keys import part_key, part_number_of, split_upload_key, upload_key, upload_prefix

keys = st.binary(min_size=1, max_size=12) | st.lists(st.sampled_from([b"\x00", b"\xff", b"a"]), min_size=1).map(
    b"".join
)
upload_ids = st.text("0123456789abcdef", min_size=48, max_size=48).map(UploadId)


@given(keys, upload_ids)
def test_an_upload_key_splits_back(key: bytes, upload_id: UploadId) -> None:
    assert split_upload_key(upload_key(key, upload_id)) == (key, upload_id)


@given(keys, upload_ids, keys, upload_ids)
def test_upload_keys_sort_by_object_key_then_id(a: bytes, x: UploadId, b: bytes, y: UploadId) -> None:
    assert (upload_key(a, x) < upload_key(b, y)) == ((a, x) < (b, y))


@given(keys, keys, upload_ids)
def test_an_upload_key_starts_with_every_prefix_of_its_object_key(a: bytes, b: bytes, upload_id: UploadId) -> None:
    assert upload_key(a + b, upload_id).startswith(upload_prefix(a))


@given(upload_ids, st.integers(1, 10_000), st.integers(1, 10_000))
def test_part_keys_sort_by_number(upload_id: UploadId, a: int, b: int) -> None:
    assert (part_key(upload_id, a) < part_key(upload_id, b)) == (a < b)
    assert part_number_of(part_key(upload_id, a)) == a
