"""Ask a service whether it is well: `python -m liteio_runtime.probe URL`, for health checks of containers.

Exit code 0 when the URL answers 200, else 1 and a line on standard error. http:// is asked over HTTP/1.1, as gateways
serve it; https:// over HTTP/2 with the cluster's certificates (LITEIO_CLUSTER_CA_FILE, _CERT_FILE, _KEY_FILE), as
storage nodes serve it. It runs every few seconds beside the service, so it imports next to nothing: 0.07 s of start.
"""

import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import PyreqwestError

TIMEOUT_SECONDS = 4.0


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    try:
        (url,) = arguments
        with _client(url.startswith("https:"), environment) as client:
            status = client.get(url).build().send().status
    except (PyreqwestError, KeyError, OSError, ValueError) as problem:
        return _not_well(f"{type(problem).__name__}: {problem}")
    return 0 if status == 200 else _not_well(f"{url} answered {status}")


def _client(has_tls: bool, environment: Mapping[str, str]) -> SyncClient:
    builder = SyncClientBuilder().timeout(timedelta(seconds=TIMEOUT_SECONDS)).no_proxy().follow_redirects(False)
    if has_tls:
        authority, certificate, key = (
            Path(environment[f"LITEIO_CLUSTER_{name}_FILE"]).read_bytes() for name in ("CA", "CERT", "KEY")
        )
        builder = builder.http2_prior_knowledge().add_root_certificate_pem(authority).identity_pem(key + certificate)
    return builder.build()


def _not_well(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
