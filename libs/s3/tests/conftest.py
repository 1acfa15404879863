"""Fixtures of the tests of this library."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.parsers import create_parser
from botocore.session import get_session


@pytest.fixture(scope="session")
def read_response() -> Callable[[str, bytes], dict[str, Any]]:
    """Reads a body as the answer of an operation, as boto3 and the aws command line do: with botocore's own models."""
    model = get_session().get_service_model("s3")

    def read(operation: str, body: bytes) -> dict[str, Any]:
        response = {"status_code": 200, "headers": {}, "body": body}
        seen: dict[str, Any] = create_parser("rest-xml").parse(response, model.operation_model(operation).output_shape)
        seen.pop("ResponseMetadata")
        return seen

    return read
