"""`liteio certs`: a folder with a cluster's authority and a certificate for each of its machines.

<folder>/ca.pem     the authority's certificate; every machine needs it
<folder>/ca.key     its private key, mode 0600; no machine needs it: whoever has it can make members of the cluster
<folder>/NODE.pem   one machine's certificate
<folder>/NODE.key   its private key, mode 0600

Running it again adds what is missing and renews what ends soon: a certificate with less than a third of its time left
is made anew for the same key. Nothing else is ever replaced; a file that does not fit is a problem that is told.
"""

import datetime
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from liteio_placement.endpoint_patterns import expand
from liteio_placement.errors import PatternRefused
from liteio_runtime.certificates import (
    AUTHORITY_DAYS,
    Authority,
    certificate_pem,
    end_of_new,
    general_name,
    is_issued_by,
    is_pair,
    key_pem,
    load_key,
    make_authority,
    make_certificate,
    names_of,
)
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.state import write_private, write_whole

DAYS_DEFAULT: Final = 825  # what Apple's and other stacks take at most from a private authority
_RENEW_SHARE: Final = 3
_AUTHORITY: Final = "ca"
_PUBLIC_MODE: Final = 0o644


class Outcome(StrEnum):
    """What was done about a certificate."""

    MADE = "made"
    RENEWED = "renewed"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class CertReport:
    """One certificate of the folder."""

    path: Path
    outcome: Outcome
    end: datetime.datetime
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.outcome}, ends {self.end:%Y-%m-%d}{self.advice}"


def make_cluster_certs(
    folder: Path, nodes: str, *, server_name: str = "", days: int = DAYS_DEFAULT, now: datetime.datetime
) -> list[CertReport]:
    """Make `folder` hold a good certificate for each of `nodes`, patterns of DNS names and IP addresses by commas.

    `server_name`: further names, by commas, that every certificate is good for. The authority comes first in the
    answer. Raises StartRefused, having changed nothing, for what can not be done.
    """
    names, shared = _names("--nodes", nodes), _names("--server-name", server_name) if server_name else []
    if not 1 <= days <= AUTHORITY_DAYS:
        raise StartRefused([Problem(f"{days} days", "--days", f"choose 1 to {AUTHORITY_DAYS}")])
    try:
        found = _find_authority(folder, now)
        authority = found or make_authority(now)
        plans = [_plan(folder, authority, tuple(dict.fromkeys((name, *shared))), now, days) for name in names]
        if problems := [plan for plan in plans if isinstance(plan, Problem)]:
            raise StartRefused(problems)
        folder.mkdir(parents=True, exist_ok=True)
        reports = [_keep_authority(folder, authority, now, is_new=found is None)]
        return reports + [plan.carry_out(authority, now, days) for plan in plans if isinstance(plan, _Plan)]
    except OSError as problem:
        where = str(problem.filename or folder)
        remedy = "name a folder that you may write to"
        raise StartRefused([Problem(problem.strerror or str(problem), where, remedy)]) from None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done for one machine; no `key` yet: one is made."""

    path: Path
    names: tuple[str, ...]
    outcome: Outcome
    key: ec.EllipticCurvePrivateKey | None
    certificate: x509.Certificate | None

    def carry_out(self, authority: Authority, now: datetime.datetime, days: int) -> CertReport:
        """The key goes first: a run that was cut in between is finished by the next. A renewal is one rename."""
        certificate = self.certificate
        if certificate is None or self.outcome is not Outcome.KEPT:
            key = self.key or ec.generate_private_key(ec.SECP256R1())
            if self.key is None:
                write_private(_key_path(self.path), key_pem(key))
            certificate = make_certificate(authority, key, self.names, now, days)
            write_whole(self.path, certificate_pem(certificate), _PUBLIC_MODE)
        return CertReport(self.path, self.outcome, certificate.not_valid_after_utc)


def _plan(
    folder: Path, authority: Authority, names: tuple[str, ...], now: datetime.datetime, days: int
) -> _Plan | Problem:
    path = folder / f"{names[0]}.pem"
    key_path = _key_path(path)
    redo = f"move {path} and {key_path} away to have them made again, or name another folder"
    try:
        key = load_key(key_path.read_bytes()) if key_path.exists() else None
        certificate = x509.load_pem_x509_certificate(path.read_bytes()) if path.exists() else None
    except ValueError as problem:
        return Problem(f"can not be read: {problem}", f"{path} or {key_path}", redo)
    if certificate is None:
        return _Plan(path, names, Outcome.MADE, key, None)
    if key is None or not is_pair(certificate, key):
        return Problem("its private key is not there", str(path), f"put the key into {key_path}, or {redo}")
    if not is_issued_by(certificate, authority.certificate):
        return Problem("another authority has issued it", str(path), redo)
    if names_of(certificate) != frozenset(names):
        has = ", ".join(sorted(names_of(certificate)))
        return Problem(f"it is for {has or 'no name'}, not for {', '.join(names)}", str(path), redo)
    is_worth_it = end_of_new(authority, now, days) > certificate.not_valid_after_utc
    outcome = Outcome.RENEWED if _ends_soon(certificate, now) and is_worth_it else Outcome.KEPT
    return _Plan(path, names, outcome, key, certificate)


def _ends_soon(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < lifetime / _RENEW_SHARE


def _find_authority(folder: Path, now: datetime.datetime) -> Authority | None:
    """None where there is none yet. Raises StartRefused, OSError."""
    path = folder / f"{_AUTHORITY}.pem"
    key_path = _key_path(path)
    there = [one for one in (path, key_path) if one.exists()]
    if not there:
        return None
    anew = "to begin with a new authority name another folder, and give its files to all machines"
    if len(there) == 1:
        (missing,) = {path, key_path} - set(there)
        raise StartRefused([Problem("is missing", str(missing), f"put it back beside {there[0]}; {anew}")])
    try:
        authority = Authority(x509.load_pem_x509_certificate(path.read_bytes()), load_key(key_path.read_bytes()))
    except ValueError as problem:
        raise StartRefused([Problem(f"can not be read: {problem}", f"{path} or {key_path}", anew)]) from None
    if not is_pair(authority.certificate, authority.key):
        raise StartRefused([Problem(f"is not the key of {path}", str(key_path), anew)])
    if authority.certificate.not_valid_after_utc <= now:
        raise StartRefused([Problem(f"ended {authority.certificate.not_valid_after_utc:%Y-%m-%d}", str(path), anew)])
    return authority


def _keep_authority(folder: Path, authority: Authority, now: datetime.datetime, *, is_new: bool) -> CertReport:
    path = folder / f"{_AUTHORITY}.pem"
    if is_new:
        write_private(_key_path(path), key_pem(authority.key))
        write_whole(path, certificate_pem(authority.certificate), _PUBLIC_MODE)
    outcome = Outcome.MADE if is_new else Outcome.KEPT
    advice = "; nothing outlives it, so make a new authority in another folder" * _ends_soon(authority.certificate, now)
    return CertReport(path, outcome, authority.certificate.not_valid_after_utc, advice)


def _names(where: str, patterns: str) -> list[str]:
    """In their usual spelling, none twice. Raises StartRefused."""
    try:
        given = expand(patterns)
    except PatternRefused as refusal:
        raise StartRefused([Problem(f"{refusal.problem} ({refusal.where})", where, refusal.remedy)]) from None
    names: list[str] = []
    problems = []
    for text in given:
        try:
            names.append(str(general_name(text.lower()).value))
        except ValueError as problem:
            remedy = "write names or addresses alone, without scheme and port: node{1...4}.lan,10.0.0.5"
            problems.append(Problem(str(problem), where, remedy))
    if _AUTHORITY in names:
        remedy = f"{_AUTHORITY}.pem is the authority's"
        problems.append(Problem(f"a machine can not be called {_AUTHORITY!r}", where, remedy))
    if len(set(names)) != len(names):
        problems.append(Problem("a machine is there twice", where, "name every machine once"))
    if problems:
        raise StartRefused(problems)
    return names


def _key_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".pem") + ".key")
