"""Log lines: JSON for machines, plain lines for people; the supervisor passes on those of its processes.

Every process of the store calls `configure_logs` once. Imported late by the supervisor: structlog and rich take longer
to import than everything that must happen before the first process is started.
"""

import logging
import sys
from collections.abc import Callable
from typing import TextIO

import structlog

from liteio_runtime.settings import LogFormat


def is_json(choice: LogFormat, stream: TextIO) -> bool:
    """What AUTO comes to for this stream."""
    return choice is LogFormat.JSON or (choice is LogFormat.AUTO and not stream.isatty())


def configure_logs(*, as_json: bool, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """structlog to `stream` (standard error), one line an event, times in UTC."""
    out = stream or sys.stderr
    timestamper = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        timestamper,
    ]
    renderers: list[structlog.typing.Processor]
    if as_json:
        renderers = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        renderers = [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )


def line_passer(*, as_json: bool, stream: TextIO | None = None) -> Callable[[str, str], None]:
    """Pass on the lines of child processes: with the process's name before them, or, when JSON is wanted, as they are
    if they are JSON objects and wrapped in one if not (a traceback, a library's message)."""
    out = stream or sys.stderr
    renderer = structlog.processors.JSONRenderer()

    def pass_plain(name: str, line: str) -> None:
        out.write(f"{name:<12} | {line}\n")
        out.flush()

    def pass_json(name: str, line: str) -> None:
        is_object = line.startswith("{") and line.endswith("}")
        out.write((line if is_object else str(renderer(None, "", {"process": name, "event": line}))) + "\n")
        out.flush()

    return pass_json if as_json else pass_plain
