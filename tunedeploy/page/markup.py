"""HTML by construction: whatever is not made here is text, and text is escaped."""

import html
from collections.abc import Iterable, Sequence

VOID = frozenset({"img", "meta", "br"})  # elements that have no end
# Characters that no browser shows, and NUL, which none may read.
CONTROL = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)], "\ufffd")
LONGEST = 600  # characters of a text that is shown: a row may be a book


class Html(str):
    """Markup. A plain text is escaped when it is put into it."""

    __slots__ = ()


def safe(value: object) -> Html:
    """Markup as it is; anything else as escaped text."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(str(value).translate(CONTROL).encode("utf-8", "replace").decode("utf-8")))


def join(parts: Iterable[object]) -> Html:
    """Markup and texts in a row."""
    return Html("".join(safe(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Attributes that are None are left out; `class_` is class, and `_` in other names a hyphen."""
    own = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{own}>")
    return Html(f"<{name}{own}>{join(children)}</{name}>")


def foreign(text: object) -> Html:
    """A label or a text of the user's data: it keeps its own direction, and may be cut."""
    return tag("bdi", cut(str(text), LONGEST))


def cut(text: str, most: int) -> str:
    """A text of at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, class_: str | None = None) -> Html:
    """A table; on a narrow screen each cell shows the name of its column."""
    body = (tag("tr", *(tag("td", cell, data_head=name) for name, cell in zip(head, row, strict=True))) for row in rows)
    return tag(
        "table",
        tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))),
        tag("tbody", *body),
        class_=class_,
    )


def items(lines: Iterable[object]) -> Html:
    """A list."""
    return tag("ul", *(tag("li", line) for line in lines))


def section(title: str, *children: object, class_: str | None = None) -> Html:
    """A part of the page with its heading."""
    return tag("section", tag("h2", title), *children, class_=class_)


def folded(summary: object, *children: object, is_open: bool = False) -> Html:
    """A part that is opened by a click."""
    return tag("details", tag("summary", summary), *children, open="" if is_open else None)
