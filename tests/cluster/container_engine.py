"""A container engine for the tests: dockerd from Debian's packages where none runs, and a base image by debootstrap.

The engine of our own lives in a network namespace, with its bridges and packet filter, so that nothing of these is left
on the machine, and nothing else that runs here is filtered. Nothing is pulled. What is expensive (the base image, image
layers, wheels) stays in a cache folder between runs: $XDG_CACHE_HOME/liteio/containers, by default
~/.cache/liteio/containers. It may be removed at any time.
"""

import dataclasses
import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.paths import REPOSITORY
from tests.support.server import free_port

_PACKAGES: Final = {  # by the program that shows that it is there
    "dockerd": "docker.io",
    "docker-compose": "docker-compose",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "ip": "iproute2",
}
_SUITE: Final = "bookworm"
# What the Dockerfile would otherwise fetch: builds in the tests reach no index.
_BASE_PACKAGES: Final = "ca-certificates,haproxy,python3,python3-venv"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0
_INSTALL_SECONDS: Final = 600.0
_CACHE_BYTES: Final = "3GB"
_CONTEXT: Final = (".dockerignore", "Dockerfile", "compose.yaml", "deploy", "libs", "requirements", "services")
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "liteio" / "containers"


def why_not() -> str:
    """Why this machine can not run containers for the tests; "" when it can."""
    if os.geteuid() != 0:
        return "containers need root"
    if shutil.which("apt-get") is None:
        return "the engine and the base image come from Debian's packages, and there is no apt-get"
    return ""


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine. `base` is an image with what the Dockerfile's stages ask of theirs."""

    environment: dict[str, str]
    log: Path
    namespace: str = ""
    """Of an engine of our own: the network namespace in which its published ports are."""
    base: str = ""

    def docker(self, *arguments: str, check: bool = True) -> str:
        """As `run`."""
        return run(("docker", *arguments), self.environment, check=check)

    @contextmanager
    def port(self) -> Iterator[int]:
        """A free port. What is published on 127.0.0.1 under it can be reached from here, too, while this is open."""
        if not self.namespace:
            yield free_port()
            return
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
            listener.setblocking(False)
            door = [sys.executable, "-m", "tests.cluster.namespace_door", str(listener.fileno()), str(port)]
            process = subprocess.Popen(_inside(self.namespace, *door), cwd=REPOSITORY, pass_fds=(listener.fileno(),))
            try:
                yield port
            finally:
                process.kill()
                process.wait()


@contextmanager
def container_engine() -> Iterator[Engine]:
    """The engine that runs here, else one of our own with its data in the cache folder; ended and tidied up afterwards.

    One at a time on a machine: others wait.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install()
        with _running() as engine:
            yield dataclasses.replace(engine, base=_base_image(engine))


def build_context(folder: Path) -> Path:
    """A folder as `docker compose` builds from, with the sources as they are here and the wheels of the libraries."""
    for name in _CONTEXT:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tests", ".*"))
        else:
            shutil.copy(source, folder / name)
    shutil.copytree(_wheels(), folder / ".wheels")
    return folder


def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    check: bool = True,
    seconds: float = 300,
    folder: Path = REPOSITORY,
) -> str:
    """Its standard output, without the end of line. Raises RuntimeError with the end of all that was said."""
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
    )
    if check and done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout.strip()


def _install() -> None:
    missing = [package for program, package in _PACKAGES.items() if shutil.which(program, path=_search_path()) is None]
    if missing:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run(("apt-get", "update", "-qq"), environment, seconds=_INSTALL_SECONDS)
        run(
            ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing),
            environment,
            seconds=_INSTALL_SECONDS,
        )


def _search_path() -> str:
    """Debian's own programs first: client, builder and engine fit one another."""
    return f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ.get('PATH', '')}"


@contextmanager
def _running() -> Iterator[Engine]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LITEIO_", "COMPOSE_"))}
    environment |= {"PATH": _search_path(), "DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1"}
    if run(("docker", "version", "--format", "{{.Server.Version}}"), environment, check=False):
        yield Engine(environment, CACHE / "none")
        return
    scratch = Path(tempfile.mkdtemp(prefix="liteio-dockerd-"))  # short: a socket's path has 108 bytes at most
    environment |= {"DOCKER_HOST": f"unix://{scratch}/docker.sock", "DOCKER_CONFIG": str(scratch)}
    engine = Engine(environment, scratch / "log", namespace=scratch.name)
    command = ["dockerd", "--data-root", str(CACHE / "docker"), "--exec-root", str(scratch / "exec")]
    command += ["--pidfile", str(scratch / "pid"), "--host", environment["DOCKER_HOST"]]
    try:
        run(("ip", "netns", "add", engine.namespace), environment)
        run(("ip", "-n", engine.namespace, "link", "set", "lo", "up"), environment)
        with engine.log.open("wb") as log:
            process = subprocess.Popen(
                _inside(engine.namespace, *command), env=environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                _wait_until_it_answers(engine, process)
                _forget_what_ran(engine)
                yield engine
                _forget_what_ran(engine)
                engine.docker("image", "prune", "--force")
                engine.docker("builder", "prune", "--force", "--keep-storage", _CACHE_BYTES)
            finally:
                process.terminate()
                process.wait(_STOP_SECONDS)
    finally:
        run(("ip", "netns", "delete", engine.namespace), environment, check=False)
        shutil.rmtree(scratch, ignore_errors=True)


def _inside(namespace: str, *command: str) -> list[str]:
    """It becomes the command. (`ip netns exec` would hide the control groups.)"""
    return ["nsenter", f"--net=/run/netns/{namespace}", *command]


def _wait_until_it_answers(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while not engine.docker("version", "--format", "{{.Server.Version}}", check=False):
        if process.poll() is not None or time.monotonic() > end:
            said = engine.log.read_text(errors="replace").splitlines()[-20:]
            raise RuntimeError("dockerd does not start:\n" + "\n".join(said))
        time.sleep(0.2)


def _forget_what_ran(engine: Engine) -> None:
    """All containers, volumes and networks of our own engine: those of a run that was killed as well."""
    if containers := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", "--volumes", *containers)
    if volumes := engine.docker("volume", "ls", "--quiet").split():
        engine.docker("volume", "rm", "--force", *volumes)
    engine.docker("network", "prune", "--force")


def _base_image(engine: Engine) -> str:
    key = hashlib.sha256(f"{_SUITE} {_BASE_PACKAGES}".encode()).hexdigest()[:12]
    name = f"liteio-test-base:{key}"
    if engine.docker("image", "ls", "--quiet", name):
        return name
    with tempfile.TemporaryDirectory(prefix="liteio-base-") as folder:
        root, image = Path(folder, "root"), Path(folder, "base.tar")
        command = ("debootstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}", _SUITE, str(root))
        run(command, engine.environment | {"DEBIAN_FRONTEND": "noninteractive"}, seconds=_INSTALL_SECONDS)
        for waste in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / waste)
        run(("tar", "--create", "--file", str(image), "--directory", str(root), "."), seconds=_INSTALL_SECONDS)
        engine.docker("import", str(image), name)
    return name


def _wheels() -> Path:
    """Made once for each state of the pins."""
    pins = [REPOSITORY / "requirements" / name for name in ("runtime.txt", "build.txt")]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in pins)).hexdigest()[:12]
    wheels = CACHE / "wheels" / key
    if not wheels.exists():
        shutil.rmtree(wheels.parent, ignore_errors=True)
        wheels.parent.mkdir(parents=True)
        fresh = Path(tempfile.mkdtemp(dir=wheels.parent))
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--use-pep517"]
        command += ["--require-hashes", "--wheel-dir", str(fresh)]
        run([*command, *(word for path in pins for word in ("-r", str(path)))], seconds=_INSTALL_SECONDS)
        fresh.rename(wheels)
    return wheels
