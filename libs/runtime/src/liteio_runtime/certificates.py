"""X.509 for the machines of one cluster: an authority, and certificates that are good for both ends of a connection.

Every machine is a server to some and a client to others, so one certificate serves for both (RFC 5280, extended key
usage). Keys are on the curve P-256, which every TLS stack here takes and which signs in microseconds.
"""

import datetime
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS: Final = 3650
NAME_CHARACTERS_MAX: Final = 253  # RFC 1035
_COMMON_NAME_CHARACTERS_MAX: Final = 64  # RFC 5280, ub-common-name
_CLOCKS_APART: Final = datetime.timedelta(hours=1)  # a machine whose clock is behind takes a new certificate, too
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs: its certificate and private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_authority(now: datetime.datetime) -> Authority:
    """A new one, good for AUTHORITY_DAYS. `now` is aware, in UTC."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([_organisation(), x509.NameAttribute(NameOID.COMMON_NAME, "liteio cluster authority")])
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _begun(name, key, now, now + datetime.timedelta(days=AUTHORITY_DAYS))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def make_certificate(
    authority: Authority,
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    now: datetime.datetime,
    days: int,
) -> x509.Certificate:
    """For `names`, DNS names and IP addresses, the first of which is the machine's own. It never outlives the
    authority's."""
    common_name = [x509.NameAttribute(NameOID.COMMON_NAME, names[0])]
    name = x509.Name([_organisation(), *(common_name if len(names[0]) <= _COMMON_NAME_CHARACTERS_MAX else ())])
    both_ends = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _begun(name, key, now, end_of_new(authority, now, days))
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(both_ends, critical=False)
        .add_extension(x509.SubjectAlternativeName([general_name(one) for one in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def end_of_new(authority: Authority, now: datetime.datetime, days: int) -> datetime.datetime:
    """When a certificate that is made `now` would end."""
    return min(now + datetime.timedelta(days=days), authority.certificate.not_valid_after_utc)


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority's key has signed it. Looks at no dates."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The names it is good for, as `general_name` takes them; other kinds are left out."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = found.get_values_for_type(x509.IPAddress)
    return frozenset([*found.get_values_for_type(x509.DNSName), *map(str, addresses)])


def general_name(name: str) -> x509.GeneralName:
    """An IP address or a DNS name. Raises ValueError for what is neither."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.split(".")
    # A name whose last label is a number is an address with a slip (WHATWG URL, "ends in a number").
    if len(name) > NAME_CHARACTERS_MAX or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise ValueError(f"{name!r} is neither a DNS name nor an IP address")
    return x509.DNSName(name)


def is_pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    return certificate.public_key() == key.public_key()


def certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """PKCS #8, without a passphrase: the servers that read it ask for none."""
    none = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none).decode()


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError for what is not such a key."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as problem:  # it has a passphrase
        raise ValueError(str(problem)) from problem
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on an elliptic curve")
    return key


def _begun(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_APART)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _organisation() -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.ORGANIZATION_NAME, "liteio")


def _key_usage(**used: bool) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**(dict.fromkeys(every, False) | used))
