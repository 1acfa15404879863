"""Mixed load by several clients at once, kept in a ledger: put, overwrite, delete, multipart, versions, get, list."""

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from tests.support.ledger import KeyLedger, LedgerBroken, Value, VersionsLedger, body_of, value_of
from tests.support.s3_client import Answer, NoAnswer, S3Client
from tests.support.server import Server

BUCKET: Final = "ledger"
VERSIONED: Final = "ledger-versions"
KIB: Final = 1024
PART_BYTES_MIN: Final = 5 * 1024 * KIB
PAUSE_SECONDS: Final = 0.05  # after trouble, so that a server that is down is not hammered
VERIFY_SECONDS: Final = 20.0  # how long a read may be answered 503 once all is up again


@dataclass
class Counts:
    """`acknowledged` counts writes only. `unknown`: writes that got no answer or a 5xx."""

    acknowledged: int = 0
    unknown: int = 0
    reads: int = 0


class Client:
    """One client with keys of its own. `run` works until told to stop; trouble with the store is expected, a broken
    ledger is not and ends it."""

    def __init__(self, server: Server, seed: int, *, keys: int = 12, large_share: float = 0.04) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.keys = [KeyLedger(f"c{seed}/{'deep/' * (number % 3)}k{number:03}") for number in range(keys)]
        self.versions = [VersionsLedger(f"c{seed}/v{number}") for number in range(2)]
        self.counts = Counts()
        self.failure: BaseException | None = None
        self._s3 = S3Client(server, timeout_seconds=15)
        self._large_share = large_share
        self._number = 0
        works: list[tuple[float, Callable[[], None]]] = [
            (50, self._put),
            (14, self._delete),
            (3, self._multipart),
            (9, self._put_version),
            (2, self._remove_version),
            (17, self._get),
            (5, self._list),
        ]
        self._works = [work for _, work in works]
        self._weights = [weight for weight, _ in works]

    def run(self, stopped: threading.Event) -> None:
        try:
            while not stopped.is_set():
                self.step()
        except BaseException as failure:
            self.failure = failure
        finally:
            self._s3.close()

    def step(self) -> None:
        """One operation."""
        (work,) = self.random.choices(self._works, self._weights)
        try:
            work()
        except NoAnswer:
            time.sleep(PAUSE_SECONDS)

    # Writes.

    def _put(self) -> None:
        key = self.random.choice(self.keys)
        body = self._body()
        self._write(key, value_of(self._number, body), lambda: self._s3.put(BUCKET, key.name, body))

    def _delete(self) -> None:
        key = self.random.choice(self.keys)
        self._number += 1
        self._write(key, Value(self._number, 0, ""), lambda: self._s3.delete(BUCKET, key.name))

    def _multipart(self) -> None:
        """Two parts; the first as small as S3 allows."""
        key = self.random.choice(self.keys)
        self._number += 1
        parts = [body_of(self._seed_of(self._number), PART_BYTES_MIN), body_of(-self._seed_of(self._number), 1000)]
        upload = self._s3.create_upload(BUCKET, key.name)
        if not _succeeded(upload):
            return
        upload_id, etags = upload.text("UploadId"), list[str]()
        for number, part in enumerate(parts, start=1):
            stored = self._s3.put_part(BUCKET, key.name, upload_id, number, part)
            if not _succeeded(stored):
                self._s3.abort_upload(BUCKET, key.name, upload_id)
                return
            etags.append(stored.headers["etag"])
        value = value_of(self._number, b"".join(parts))
        self._write(key, value, lambda: self._s3.complete_upload(BUCKET, key.name, upload_id, etags))

    def _write(self, key: KeyLedger, value: Value, send: Callable[[], Answer]) -> None:
        key.begin(value)
        try:
            answer = send()
        except NoAnswer:
            self.counts.unknown += 1
            raise
        # CompleteMultipartUpload may begin its answer with 200 and say in its body that it failed.
        if answer.is_success and b"<Error>" not in answer.body[:200]:
            key.acknowledge(value)
            self.counts.acknowledged += 1
        elif answer.status >= 500 or answer.is_success:
            self.counts.unknown += 1
            time.sleep(PAUSE_SECONDS)
        else:
            key.refuse(value)
            raise LedgerBroken(f"{key.name}: a plain write was refused: {answer.status} {answer.body[:300]!r}")

    def _put_version(self) -> None:
        key = self.random.choice(self.versions)
        body = self._body()
        answer = self._s3.put(VERSIONED, key.name, body)
        if _succeeded(answer):
            key.versions[answer.headers["x-amz-version-id"]] = value_of(self._number, body)
            self.counts.acknowledged += 1
        else:
            self.counts.unknown += 1

    def _remove_version(self) -> None:
        key = self.random.choice(self.versions)
        left = [one for one in key.versions if one not in key.removed]
        if not left:
            return
        version_id = self.random.choice(left)
        key.doubtful.add(version_id)
        if _succeeded(self._s3.delete(VERSIONED, key.name, version_id=version_id)):
            key.removed.add(version_id)
            self.counts.acknowledged += 1
        else:
            self.counts.unknown += 1

    # Reads.

    def _get(self) -> None:
        key = self.random.choice(self.keys)
        observe(key, self._s3.get(BUCKET, key.name))
        self.counts.reads += 1

    def _list(self) -> None:
        listed = _listed(self._s3, BUCKET, f"c{self.seed}/", page=self.random.choice((3, 1000)))
        if listed is not None:
            compare_listing(self.keys, listed)
            self.counts.reads += 1

    def _body(self) -> bytes:
        self._number += 1
        if self.random.random() < self._large_share:
            size = self.random.randrange(256 * KIB, 3 * 1024 * KIB)
        else:
            size = self.random.choice((0, 1, 900, 4 * KIB, 40 * KIB, 200 * KIB))
        return body_of(self._seed_of(self._number), size)

    def _seed_of(self, number: int) -> int:
        return self.seed * 1_000_000 + number


def observe(key: KeyLedger, answer: Answer) -> None:
    """Hold a GET's answer against the ledger; a 5xx says nothing. Raises LedgerBroken."""
    if answer.is_success:
        key.observe(answer.body)
    elif answer.status == 404:
        key.observe(None)
    elif answer.status < 500:
        raise LedgerBroken(f"{key.name}: GET was answered {answer.status} {answer.body[:300]!r}")


def compare_listing(keys: Iterable[KeyLedger], listed: dict[str, tuple[int, str]]) -> None:
    """Raises LedgerBroken for a key that must be there and is not, or must not and is."""
    for key in keys:
        found = listed.pop(key.name, None)
        if found is None and not key.may_be_absent:
            raise LedgerBroken(f"{key.name} is missing in the listing, but is {', '.join(map(str, key.possible))}")
        if found is not None and found[0] not in {one.size for one in key.possible if not one.is_absent}:
            raise LedgerBroken(
                f"{key.name} is listed with {found[0]} bytes, may be {', '.join(map(str, key.possible))}"
            )
    if listed:
        raise LedgerBroken(f"listed, but never written: {sorted(listed)}")


@dataclass
class Load:
    """Several clients, each in a thread. `seed` makes the operations (not their timing) repeatable."""

    server: Server
    seed: int
    client_count: int = 4
    keys: int = 12
    large_share: float = 0.04
    clients: list[Client] = field(init=False)

    def __post_init__(self) -> None:
        self.clients = [
            Client(self.server, self.seed * 100 + number, keys=self.keys, large_share=self.large_share)
            for number in range(self.client_count)
        ]
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    def make_buckets(self) -> None:
        s3 = S3Client(self.server)
        for bucket in (BUCKET, VERSIONED):
            s3.create_bucket(bucket)
        s3.enable_versioning(VERSIONED)
        s3.close()

    @property
    def acknowledged(self) -> int:
        return sum(client.counts.acknowledged for client in self.clients)

    @property
    def unknown(self) -> int:
        return sum(client.counts.unknown for client in self.clients)

    def start(self) -> None:
        self._stopped.clear()
        self._threads = [threading.Thread(target=one.run, args=(self._stopped,)) for one in self.clients]
        for thread in self._threads:
            thread.start()

    def wait_for(self, acknowledged: int, seconds: float) -> None:
        """Until so many writes in all are acknowledged. Raises what a client met, or AssertionError after `seconds`."""
        end = time.monotonic() + seconds
        while self.acknowledged < acknowledged:
            self._raise_failures()
            assert time.monotonic() < end, (
                f"{self.acknowledged} of {acknowledged} writes after {seconds} s, {self.unknown} not known:\n"
                + self.server.log()
            )
            time.sleep(0.005)

    def stop(self) -> None:
        """Wait for all clients to finish what they are doing. Raises what a client met."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a client hangs"
        self._threads = []
        self._raise_failures()

    def _raise_failures(self) -> None:
        for client in self.clients:
            if client.failure is not None:
                raise client.failure

    def verify(self, *, seconds: float = VERIFY_SECONDS) -> None:
        """Every key and version of every client as the ledger has it, and the listing whole. With nothing in flight
        every read must be answered; `seconds` is for what a killed process left to be settled."""
        s3 = S3Client(self.server)
        end = time.monotonic() + seconds
        for client in self.clients:
            for key in client.keys:
                name = key.name
                answer = _answered(lambda name=name: s3.get(BUCKET, name), end)  # type: ignore[misc]  # mypy: lambda default
                observe(key, answer)
            for versions in client.versions:
                _verify_versions(s3, versions, end)
        every_key = [key for client in self.clients for key in client.keys]
        compare_listing(every_key, s3.list_keys(BUCKET, page=7))
        delimited = _answered(lambda: s3.send("GET", f"/{BUCKET}", query="list-type=2&delimiter=%2F"), end)
        present = {key.name.split("/")[0] + "/" for key in every_key if not key.may_be_absent}
        assert present <= set(delimited.texts("Prefix")), (present, delimited.body)
        s3.close()

    def abort_uploads(self) -> None:
        """Abort what killed clients and servers left open, as the client would. Twice does no harm."""
        s3 = S3Client(self.server)
        while uploads := s3.list_uploads(BUCKET):
            for key, upload_id in uploads:
                answer = s3.abort_upload(BUCKET, key, upload_id)
                assert answer.is_success or answer.status == 404, (key, upload_id, answer)
        s3.close()


def _verify_versions(s3: S3Client, versions: VersionsLedger, end: float) -> None:
    for version_id, value in versions.versions.items():
        answer = _answered(
            lambda version_id=version_id: s3.get(VERSIONED, versions.name, version_id=version_id),  # type: ignore[misc]
            end,
        )
        if version_id in versions.removed:
            if answer.status != 404:
                raise LedgerBroken(f"{versions.name} version {version_id} was removed, and is there: {answer.status}")
        elif answer.is_success:
            KeyLedger(f"{versions.name} version {version_id}", [value]).observe(answer.body)
        elif not (answer.status == 404 and version_id in versions.doubtful):
            raise LedgerBroken(f"{versions.name} version {version_id} is {answer.status}, was {value}: {answer.body!r}")


def _answered(send: Callable[[], Answer], end: float) -> Answer:
    """An answer that is not 5xx, asking again until `end`. Raises LedgerBroken when it does not come."""
    while True:
        try:
            answer = send()
            if answer.status < 500:
                return answer
            last = f"{answer.status} {answer.body[:300]!r}"
        except NoAnswer as problem:
            last = str(problem)
        if time.monotonic() > end:
            raise LedgerBroken(f"all is up and nothing in flight, but a read gets no answer: {last}")
        time.sleep(0.2)


def _listed(s3: S3Client, bucket: str, prefix: str, *, page: int) -> dict[str, tuple[int, str]] | None:
    """None when the store can not answer now."""
    try:
        return s3.list_keys(bucket, prefix=prefix, page=page)
    except AssertionError as refused:
        if isinstance(refused.args[0], tuple) and refused.args[0][0] >= 500:
            return None
        raise


def _succeeded(answer: Answer) -> bool:
    """Raises LedgerBroken for a 4xx, which a plain operation never earns."""
    if 400 <= answer.status < 500 and answer.code != "NoSuchUpload":
        raise LedgerBroken(f"{answer.status} {answer.body[:300]!r}")
    return answer.is_success
