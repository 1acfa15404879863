import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_placement import ENDPOINTS_MAX, Endpoint, PatternRefused, expand, expand_endpoints, parse_endpoint
from liteio_placement.endpoint_patterns import expand_origins


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/data", ["/data"]),
        ("d{1...3}", ["d1", "d2", "d3"]),
        ("d1,d2,d3", ["d1", "d2", "d3"]),
        ("a{1...2},b{3...4}", ["a1", "a2", "b3", "b4"]),
        ("d{08...11}", ["d08", "d09", "d10", "d11"]),
        ("d{9...11}", ["d9", "d10", "d11"]),
        ("d{00...02}", ["d00", "d01", "d02"]),
        ("d{0...2}", ["d0", "d1", "d2"]),
        ("d{5...5}", ["d5"]),
        ("/mnt/{red,blue}/x", ["/mnt/red/x", "/mnt/blue/x"]),
        ("/mnt/{red, blue} , /data", ["/mnt/red", "/mnt/blue", "/data"]),
        (
            "https://node{1...2}.lan:9100/mnt/disk{1...2}",
            [f"https://node{node}.lan:9100/mnt/disk{disk}" for node in (1, 2) for disk in (1, 2)],
        ),
    ],
)
def test_patterns_expand_in_order(pattern: str, expected: list[str]) -> None:
    assert expand(pattern) == expected


def test_several_patterns_follow_one_another() -> None:
    assert expand(["/a{1...2}", "/b"]) == ["/a1", "/a2", "/b"]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "empty name"),
        ("d1,,d2", "empty name"),
        ("d1,", "empty name"),
        ("d{1...3", "nothing closes the brace at character 2"),
        ("d1...3}", "nothing opens the brace at character 7"),
        ("d{1...{2,3}}", "brace in a brace at character 7"),
        ("d{1..3}", "three dots"),
        ("d{1...4,7}", "three dots"),
        ("d{}", "neither a range nor a list"),
        ("d{a}", "neither a range nor a list"),
        ("d{a,}", "neither a range nor a list"),
        ("d{a...c}", "neither a range nor a list"),
        ("d{3...1}", "write {1...3}"),
        ("d{01...100}", "two widths"),
        ("d{1...10001}", "more than 10000"),
        ("d{1...999999999}", "more than 10000"),
        ("{1...200}{1...200}", "more than 10000"),
        ("a{1...6000},b{1...6000}", "more than 10000"),
        ("d{1...2},d2", "named twice"),
        ("/" + "x" * 5000, "too many"),
        ("d{1111111111...1111111112}", "neither a range nor a list"),
    ],
)
def test_wrong_patterns_are_refused_with_the_place_and_a_remedy(pattern: str, said: str) -> None:
    with pytest.raises(PatternRefused, match=said.replace("{", r"\{").replace(".", r"\.")) as refusal:
        expand(pattern)
    assert refusal.value.problem
    assert refusal.value.where
    assert refusal.value.remedy


def test_no_patterns_at_all_are_refused() -> None:
    with pytest.raises(PatternRefused, match="no drives"):
        expand([])


def test_the_greatest_allowed_number_expands() -> None:
    assert len(expand(f"d{{1...{ENDPOINTS_MAX}}}")) == ENDPOINTS_MAX


@given(st.text(alphabet="d/{}.,019 ", max_size=30))
def test_any_text_expands_or_is_refused(pattern: str) -> None:
    try:
        results = expand(pattern)
    except PatternRefused:
        return
    assert 1 <= len(results) <= ENDPOINTS_MAX
    assert len(set(results)) == len(results)
    assert not any(character in result for result in results for character in "{},")


@given(st.integers(0, 500), st.integers(0, 60), st.integers(1, 6))
def test_a_padded_range_counts_every_number_once(low: int, more: int, digits: int) -> None:
    first, last = str(low).zfill(digits), str(low + more).zfill(digits)
    if len(first) == len(last):
        assert [int(text) for text in expand(f"{{{first}...{last}}}")] == list(range(low, low + more + 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/mnt/disk1", Endpoint("", "/mnt/disk1")),
        ("d1", Endpoint("", "d1")),
        ("//mnt//disk1/", Endpoint("", "/mnt/disk1")),
        ("https://node1.lan:9100/mnt/disk1", Endpoint("https://node1.lan:9100", "/mnt/disk1")),
        ("http://NODE1/d", Endpoint("http://node1", "/d")),
        ("http://[::1]:9100/d", Endpoint("http://[::1]:9100", "/d")),
    ],
)
def test_endpoints_parse_into_origin_and_path(text: str, expected: Endpoint) -> None:
    assert parse_endpoint(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host/d",
        "http:///d",
        "http://host",
        "http://host/",
        "http://host:port/d",
        "http://host:70000/d",
        "http://u@host/d",
        "http://host/d?x=1",
        "http://host/d#x",
        "http://[::1/d",
        "/",
        "",
    ],
)
def test_wrong_urls_are_refused(text: str) -> None:
    with pytest.raises(PatternRefused):
        parse_endpoint(text)


@pytest.mark.parametrize("patterns", [["/d1", "http://host/d1"], ["http://a/d", "https://b/d"]])
def test_mixed_endpoints_are_refused(patterns: list[str]) -> None:
    with pytest.raises(PatternRefused, match="mixed"):
        expand_endpoints(patterns)


def test_the_same_drive_written_twice_differently_is_refused() -> None:
    with pytest.raises(PatternRefused, match="named twice"):
        expand_endpoints(["http://node/d1", "http://NODE/d1/"])


def test_nodes_are_named_without_folders() -> None:
    origins = ["https://node1.lan:9100", "https://node2.lan:9100"]
    assert expand_origins("https://Node{1...2}.lan:9100/") == origins


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        ("https://n1:9100/mnt", "a folder is named"),
        ("n1:9100", "the scheme is not http"),
        ("http://n1,https://n2", "mixed"),
        ("http://n1,http://N1/", "named twice"),
    ],
)
def test_what_names_no_nodes_is_refused(patterns: str, said: str) -> None:
    with pytest.raises(PatternRefused, match=said):
        expand_origins(patterns)
