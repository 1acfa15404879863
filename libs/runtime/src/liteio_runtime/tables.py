"""Tables and sizes for people at a terminal."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from liteio_base.limits import GIB, KIB, MIB, TIB

_WIDTH: Final = 10_000


def render_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they must be, whatever the terminal: a name that is cut can not be pasted."""
    table = Table(*names, box=None, pad_edge=False, header_style="")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(width=_WIDTH, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def render_size(size_bytes: float) -> str:
    """Like "1.5 GiB"."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes:.0f} B"
