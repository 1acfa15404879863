"""The probe of containers: 0 for an answer of 200, 1 and a word for everything else."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from liteio_runtime import probe


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("location", "/200")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(name="origin")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_an_answer_of_200_is_well(origin: str) -> None:
    assert probe.main([f"{origin}/200"], {}) == 0


@pytest.mark.parametrize("status", [204, 301, 404, 503])
def test_any_other_answer_is_not(origin: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main([f"{origin}/{status}"], {}) == 1
    assert str(status) in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["not a url"], ["http://127.0.0.1:1/"], ["https://127.0.0.1:1/"]])
def test_what_can_not_be_asked_is_not_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(arguments, {}) == 1
    assert capsys.readouterr().err


def test_it_is_a_program(origin: str) -> None:
    command = (sys.executable, "-m", "liteio_runtime.probe")
    assert subprocess.run((*command, f"{origin}/200"), check=False).returncode == 0
    assert subprocess.run((*command, f"{origin}/503"), check=False, capture_output=True).returncode == 1
