"""Print the path of SeaweedFS's program, which is installed first if need be; nothing where it can not be had."""

import sys

from tests.support.client_env import ClientMissing, python_client


def main() -> None:
    try:
        print(python_client("seaweedfs") / "weed")
    except ClientMissing as missing:
        print(f"the bench goes without SeaweedFS: {missing}", file=sys.stderr)


if __name__ == "__main__":
    main()
