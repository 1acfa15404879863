"""`liteio doctor`: look at everything that the store stands on, and say what to do about what is not right."""

import asyncio
import ctypes
import datetime
import platform
import resource
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from liteio_runtime.doctor_cluster import look_at_cluster
from liteio_runtime.doctor_drives import look_at_drives
from liteio_runtime.findings import Finding, Level, bad, good, warn
from liteio_runtime.listening import listen
from liteio_runtime.problems import StartRefused
from liteio_runtime.settings import NO_BUS, ServerSettings

_SQLITE_MIN: Final = (3, 51, 3)  # older ones have a write-ahead-log bug that can corrupt
_OPEN_FILES_MIN: Final = 8192  # 2,000 connections a worker, shard files of requests in flight, room to spare
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised
_CERT_DAYS_LOW: Final = 21
_BUS_SECONDS: Final = 3.0


def examine(settings: ServerSettings) -> list[Finding]:
    return [
        *_versions(),
        _clock(),
        _open_files(),
        *look_at_drives(settings.own_drives),
        *look_at_cluster(settings, certificate_dates),
        *_port(settings),
        *_tls(settings),
        *_bus(settings),
    ]


def render(findings: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    summary = f"{counts[Level.GOOD]} ok, {counts[Level.WARN]} to look at, {counts[Level.BAD]} bad"
    return "\n".join([*map(str, findings), "", summary])


def _versions() -> Iterator[Finding]:
    import apsw

    yield good("Python", platform.python_version())
    found = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if found >= _SQLITE_MIN:
        yield good("SQLite", apsw.sqlite_lib_version())
    else:
        yield bad("SQLite", apsw.sqlite_lib_version(), "run `make setup`: apsw must carry SQLite 3.51.3 or newer")


def _clock() -> Finding:
    """Skew never hides an acknowledged write, but signatures are refused when it exceeds 15 minutes."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(512))  # struct timex with no bit of `modes` set: only ask
    if state in (_TIME_ERROR, -1):
        return warn("clock", "not synchronised", "run chrony or systemd-timesyncd: clients off by 15 min are refused")
    return good("clock", "synchronised")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= _OPEN_FILES_MIN or soft == resource.RLIM_INFINITY:
        return good("open files", f"limit {soft}")
    return warn("open files", f"limit {soft} (hard {hard})", f"raise it: ulimit -n {max(_OPEN_FILES_MIN, 65536)}")


def _port(settings: ServerSettings) -> Iterator[Finding]:
    try:
        listen(settings).close()
    except StartRefused as refused:
        (problem,) = refused.problems
        if _is_running(settings):
            yield good("port", f"{settings.port} is used by the liteio that runs here")
        else:
            yield bad("port", problem.what, problem.remedy)
    else:
        yield good("port", f"{settings.address} is free")


def _is_running(settings: ServerSettings) -> bool:
    """Whether a server holds the state folder's lock. Asked without taking it: two doctors must not disturb a start."""
    try:
        inode = (settings.state_dir / "server.lock").stat().st_ino
    except OSError:
        return False
    return any(f":{inode} " in line for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines())


def _tls(settings: ServerSettings) -> Iterator[Finding]:
    if settings.cert is None or settings.key is None:
        host = settings.host
        if host in ("127.0.0.1", "::1", "localhost"):
            yield good("TLS", "off, and S3 is served to this machine only")
        else:
            yield warn("TLS", "off: keys are safe, but data crosses the network in clear", "give --cert and --key")
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.cert, settings.key)
    except (ssl.SSLError, OSError) as problem:
        yield bad("TLS", f"certificate and key do not work: {problem}", "give the full chain in PEM, and its own key")
        return
    yield from certificate_dates(settings.cert.read_bytes(), datetime.datetime.now(datetime.UTC))


def certificate_dates(chain: bytes, now: datetime.datetime, of: str = "TLS") -> Iterator[Finding]:
    """One finding a certificate of the chain."""
    from cryptography import x509

    for number, certificate in enumerate(x509.load_pem_x509_certificates(chain)):
        subject = f"{of} certificate" if number == 0 else f"{of} chain, certificate {number + 1}"
        days = (certificate.not_valid_after_utc - now).days
        if certificate.not_valid_before_utc > now:
            yield bad(subject, f"not valid before {certificate.not_valid_before_utc:%Y-%m-%d}", "check clock and file")
        elif certificate.not_valid_after_utc <= now:
            yield bad(subject, f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}", "renew it and restart")
        elif days < _CERT_DAYS_LOW:
            yield warn(subject, f"expires in {days} days", "renew it and restart")
        else:
            yield good(subject, f"valid for {days} days")


def _bus(settings: ServerSettings) -> Iterator[Finding]:
    if settings.nats == NO_BUS:
        yield warn("bus", "switched off", "bucket events are kept on the drives until there is a bus")
        return
    url = settings.nats or _own_bus_url(settings)
    if url is None:
        yield good("bus", "our own server, started with the store")
    elif problem := asyncio.run(_ask_bus(url)):
        yield bad("bus", problem, "start it, or check --nats: S3 works without it, events wait on the drives")
    else:
        yield good("bus", "answers, with JetStream")


def _own_bus_url(settings: ServerSettings) -> str | None:
    """None unless the store runs: only then must its server answer."""
    try:
        return (settings.state_dir / "nats" / "url").read_text("utf-8") if _is_running(settings) else None
    except OSError:
        return None


async def _ask_bus(url: str) -> str | None:
    """What is wrong, or None."""
    import nats.errors
    from nats.aio.client import Client

    seen: list[Exception] = []

    async def note(problem: Exception) -> None:
        seen.append(problem)

    client = Client()
    try:
        async with asyncio.timeout(_BUS_SECONDS):
            await client.connect(
                url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, error_cb=note
            )
            await client.jetstream().account_info()
    except (nats.errors.Error, OSError, TimeoutError) as problem:
        said = seen[0] if seen else problem
        return str(said) or type(said).__name__
    finally:
        await client.close()  # also closes what a refused connect left open
    return None
