import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import DeploymentId, DriveId
from liteio_formats.checked_json import FormatError
from liteio_formats.format_json import DriveFormat, decode_format, encode_format

DRIVE = DriveFormat(
    deployment_id=DeploymentId("d" * 32),
    drive_id=DriveId("e" * 32),
    set_index=0,
    slot=1,
    set_count=2,
    set_width=3,
    parity=1,
    was_mount_point=((True, False, True), (False, False, False)),
)


def test_a_format_comes_back_as_it_was() -> None:
    assert decode_format(encode_format(DRIVE)) == DRIVE


@given(st.data())
def test_a_changed_digit_is_noticed(data: st.DataObject) -> None:
    text = encode_format(DRIVE).decode()
    place = data.draw(st.sampled_from([at for at, sign in enumerate(text) if sign.isdigit() or sign in "de"]))
    changed = text[:place] + ("7" if text[place] != "7" else "8") + text[place + 1 :]
    with pytest.raises(FormatError):
        decode_format(changed.encode())


@given(st.binary(max_size=100))
def test_garbage_is_no_format(garbage: bytes) -> None:
    with pytest.raises(FormatError):
        decode_format(garbage)


@pytest.mark.parametrize(("field", "value", "says"), [("version", 2, "format 2"), ("format", "xl", "written by 'xl'")])
def test_other_makers_and_newer_versions_are_named(field: str, value: object, says: str) -> None:
    content = json.loads(encode_format(DRIVE))
    content[field] = value
    with pytest.raises(FormatError, match=says):
        decode_format(json.dumps(content).encode())


def test_a_slot_outside_the_layout_is_refused() -> None:
    outside = DriveFormat(**{name: getattr(DRIVE, name) for name in DRIVE.__struct_fields__} | {"slot": 3})
    with pytest.raises(FormatError, match="contradict"):
        decode_format(encode_format(outside))


def test_the_sample_of_version_1_is_read() -> None:
    sample = (Path(__file__).parent / "vectors" / "format-1.json").read_bytes()
    found = decode_format(sample)
    assert (found.deployment_id, found.slot, found.set_width) == ("d" * 32, 1, 4)
    assert encode_format(found) == sample
