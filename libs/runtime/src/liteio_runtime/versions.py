"""The versions that matter when something is reported."""

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """By name: liteio, Python, SQLite (the one that apsw carries), and the libraries that touch data."""
    import apsw

    from liteio_erasure.bitrot import HASH_KERNEL
    from liteio_s3.md5 import MD5_KERNEL

    names = ("pyeclib", "highwayhash-cffi", "nats-py", "uvicorn", "pydantic")
    return {
        "liteio": version("liteio-runtime"),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        **{name: version(name) for name in names},
        "highwayhash kernel": HASH_KERNEL,
        "md5 kernel": MD5_KERNEL,
        "kernel": platform.release(),
    }


def render_versions() -> str:
    return "\n".join(f"{name:<18} {number}" for name, number in versions().items())
