"""Where the bus is, for commands beside the server."""

from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.settings import NO_BUS, ServerSettings


def bus_url(settings: ServerSettings) -> str:
    """The bus that the server of these settings uses. Raises StartRefused."""
    if settings.nats == NO_BUS:
        raise StartRefused([Problem("there is no bus to listen to", "--nats", "name a server, or leave it out")])
    if settings.nats:
        return settings.nats
    path = settings.state_dir / "nats" / "url"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        remedy = "start the server once, or name its --state folder or --nats URL"
        raise StartRefused([Problem(problem.strerror or str(problem), str(path), remedy)]) from None
