"""The load generator counts what went well, tells what did not, and reads answers however they are cut."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from hypothesis import given
from hypothesis import strategies as st
from tests.bench.load import MIXED, Load, Result, merged, quantile, run
from tests.bench.s3_wire import Answer, AnswerReader

PLAIN = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\nhello'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\n\r\n"

Respond = Callable[[str], bytes]


def fed(pieces: list[bytes], *, is_head_request: bool = False) -> Answer:
    reader = AnswerReader(is_head_request=is_head_request, keeps_body=True)
    answers = [answer for piece in pieces if (answer := reader.receive(piece)) is not None]
    assert len(answers) == 1
    return answers[0]


@given(st.sampled_from([PLAIN, CHUNKED]), st.lists(st.integers(1, 90), max_size=6))
def test_an_answer_is_read_however_it_is_cut(wire: bytes, cuts: list[int]) -> None:
    places = [0, *sorted({cut for cut in cuts if cut < len(wire)}), len(wire)]
    answer = fed([wire[start:end] for start, end in pairwise(places)])
    assert (answer.status, answer.body, answer.body_bytes) == (200, b"hello", 5)


def test_an_answer_to_head_has_no_body_whatever_length_it_tells() -> None:
    answer = fed([PLAIN.removesuffix(b"hello")], is_head_request=True)
    assert (answer.body_bytes, answer.header(b"etag")) == (0, '"x"')


def test_an_answer_without_content_is_whole_at_once() -> None:
    assert fed([b"HTTP/1.1 204 No Content\r\n\r\n"]).status == 204


@asynccontextmanager
async def answering(respond: Respond) -> AsyncIterator[int]:
    """A server that answers each request line by `respond`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lower = head.lower()
                await reader.readexactly(int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                writer.write(respond(head.partition(b"\r\n")[0].decode()))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def load_of(port: int, operation: str, *, count: int = 20, seconds: float = 0.0, keys: int = 0) -> Load:
    return Load("127.0.0.1", port, "key", "secret", "b", operation, "p/", count, 4, 5, seconds, keys)


async def run_against(respond: Respond, operation: str, **bounds: float) -> Result:
    async with answering(respond) as port:
        return await run(load_of(port, operation, **bounds))  # type: ignore[arg-type]  # whole numbers are floats, too


async def test_an_operation_that_fails_is_counted_by_what_came_and_not_as_done() -> None:
    def respond(line: str) -> bytes:
        return b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n" if line.endswith("3 HTTP/1.1") else PLAIN

    result = await run_against(respond, "GET")
    assert result.errors == {"GET was answered 503": 2}  # numbers 3 and 13
    assert (result.attempts, result.operations, len(result.first_bytes)) == (20, 18, 18)


async def test_a_get_that_gives_too_little_is_an_error() -> None:
    short = PLAIN.replace(b"5", b"4", 1).removesuffix(b"o")
    result = await run_against(lambda line: short, "GET")
    assert (result.operations, result.errors) == (0, {"GET gave 4 bytes": 20})


async def test_a_listing_with_pages_that_are_not_full_is_an_error() -> None:
    body = b"<Key>a</Key><NextContinuationToken>a&amp;b</NextContinuationToken>"
    page = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    lines: list[str] = []

    def respond(line: str) -> bytes:
        lines.append(line)
        return page

    result = await run_against(respond, "LIST", count=8)
    assert result.errors == {"a page held 1 keys": 8}
    assert "continuation-token=a%26b&list-type=2" in lines[-1]


async def test_a_load_ends_by_time_and_its_attempts_are_the_keys_it_asked_for() -> None:
    asked: Counter[str] = Counter()

    def respond(line: str) -> bytes:
        asked[line.split()[1]] += 1
        return PLAIN

    result = await run_against(respond, "PUT", count=1 << 40, seconds=0.2)
    assert 0.2 <= result.seconds < 5
    assert asked == Counter({f"/b/p/{number:07d}": 1 for number in range(result.attempts)})


async def test_operations_go_round_the_keys_that_there_are() -> None:
    asked: Counter[str] = Counter()

    def respond(line: str) -> bytes:
        asked[line.split()[1]] += 1
        return PLAIN

    await run_against(respond, "GET", count=20, keys=4)
    assert asked == Counter({f"/b/p/{number:07d}": 5 for number in range(4)})


async def test_a_multipart_upload_sends_its_parts_and_names_them() -> None:
    lines: list[str] = []
    body = b"<UploadId>u/1</UploadId><ETag>"
    answer = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)

    def respond(line: str) -> bytes:
        lines.append(line)
        return answer

    result = await run_against(respond, "MULTIPART", count=1)
    assert (result.operations, result.errors) == (1, {})
    assert [line.partition("?")[2].removesuffix(" HTTP/1.1") for line in lines] == [
        "uploads=",
        "partNumber=1&uploadId=u%2F1",
        "uploadId=u%2F1",
    ]


async def test_a_server_that_is_gone_is_an_error_and_not_an_end() -> None:
    async with answering(lambda line: PLAIN) as port:
        pass
    result = await run(load_of(port, "GET", count=4))
    assert (result.operations, sum(result.errors.values())) == (0, 4)


def test_mixed_has_the_shares_it_tells() -> None:
    shares = Counter(MIXED)
    assert {kind: count * 20 // len(MIXED) for kind, count in shares.items()} == {
        "GET": 9,
        "HEAD": 6,
        "PUT": 3,
        "DELETE": 2,
    }


def test_results_of_processes_are_added_over_the_longest() -> None:
    both = merged([Result(3, 1.0, [1.0, 2.0], [1.0, 1.0], {"x": 1}), Result(2, 2.0, [3.0], [3.0], {"x": 1})])
    assert (both.attempts, both.operations, both.seconds, both.errors) == (5, 3, 2.0, {"x": 2})


@pytest.mark.parametrize(("share", "expected"), [(0.5, 51.0), (0.99, 100.0)])
def test_a_quantile_is_a_value_that_was_seen(share: float, expected: float) -> None:
    assert quantile([number / 1000 for number in range(100, 0, -1)], share) == pytest.approx(expected)
    assert quantile([0.007], share) == pytest.approx(7.0)
