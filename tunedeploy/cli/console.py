"""What the terminal shows: progress with time left, notes, tables; plain lines where there is no terminal."""

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

EVERY_S = 10.0  # between plain progress lines: a log stays short and still shows life
UNBOUNDED = 10_000  # columns of a file or a pipe, in which no line wraps
COLOURS = {"green": 32, "red": 31, "bold": 1}


class Console:
    """A progress.Listener that writes to stderr, unless it is silent.

    Args:
        silent: print nothing (for `--json`, whose document must be all there is).
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent or sys.stderr is None  # closed: 2>&-
        self.live = not self.silent and sys.stderr.isatty()
        self.open = False
        self.name = ""
        self.began = self.printed = 0.0

    def note(self, text: str) -> None:
        """One line."""
        if self.silent:
            return
        self.close()
        print(text, file=sys.stderr, flush=True)

    def update(self, name: str, done: float, total: float, text: str) -> None:
        """A bar's line, with time left."""
        if self.silent:
            return
        now = time.monotonic()
        if name != self.name or done <= 0:
            self.name, self.began, self.printed = name, now, now
        left = (now - self.began) / done * (total - done) if done else 0.0
        line = f"{name}: {done:.0f}/{total:.0f} ({done / max(total, 1):.0%}), {clock(left)} left  {text}".rstrip()
        if self.live:
            sys.stderr.write(f"\r\x1b[2K{line[:150]}")
            sys.stderr.flush()
            self.open = done < total
            if done >= total:
                self.close(force=True)
        elif now - self.printed >= EVERY_S:
            self.printed = now
            print(line, file=sys.stderr, flush=True)
        if done >= total:
            self.name = ""

    def close(self, *, force: bool = False) -> None:
        """Clear a progress line that is still open."""
        if self.live and (self.open or force):
            sys.stderr.write("\r\x1b[2K")
        self.open = False


def clock(seconds: float) -> str:
    """Seconds as 45 s, 3:20 min or 2:05 h."""
    total = round(seconds)
    if total < 100:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 100 else f"{minutes // 60}:{minutes % 60:02d} h"


def columns() -> int:
    """Width of the terminal, or of COLUMNS; UNBOUNDED where stdout is no terminal."""
    return shutil.get_terminal_size((UNBOUNDED, 24)).columns


def coloured(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in one of COLOURS if the stream, by default stdout, is a terminal that shows colours."""
    stream = stream if stream is not None else sys.stdout
    plain = stream is None or not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Columns aligned with blanks, figures to the right; where the terminal is too narrow, each row as a paragraph."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    if sum(widths) + 2 * (len(widths) - 1) > columns():
        return "\n".join(paragraph(lines[0], line) for line in lines[1:])
    figures = [all(is_figure(line[at]) or not line[at] for line in lines[1:]) for at in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_figure(cell) or of_figures else cell.ljust(width)
            for cell, width, of_figures in zip(line, widths, figures, strict=True)
        ).rstrip()
        for line in lines
    )


def paragraph(head: Sequence[str], row: Sequence[str]) -> str:
    """A row as its first cell, and below it the others that are not empty, each behind the name of its column."""
    others = "  ".join(f"{name} {cell}" for name, cell in zip(head[1:], row[1:], strict=True) if cell)
    width = max(columns(), 20)
    first = textwrap.wrap(row[0], width, subsequent_indent="  ")
    return "\n".join([*first, *textwrap.wrap(others, width, initial_indent="    ", subsequent_indent="    ")])


def is_figure(cell: str) -> bool:
    """Whether a cell starts like a number."""
    return cell[:1].isdigit() or cell[:1] == "-"


def figure(value: Any) -> str:
    """A number with three significant digits, or text as it is."""
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def indented(rows: list[tuple[str, str]]) -> str:
    """Names and descriptions, indented by two blanks."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name.ljust(width)}  {text}".rstrip() for name, text in rows)
