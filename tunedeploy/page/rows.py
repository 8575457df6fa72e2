"""Rows of the user's data as the page shows them: texts as they are, images as small pictures inside the page."""

import base64
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

from tunedeploy.data.columns import Column
from tunedeploy.device.review import Mistake
from tunedeploy.page.markup import Html, foreign, join, table, tag
from tunedeploy.page.story import Reviewed

PIXELS = 96  # of the longer side
NOT_KNOWN = "Which rows are wrong is not known: no answers that could be compared were stored."
QUALITY = 80  # of JPEG: 2 to 4 kB an image


def shown(row: Mapping[str, Any], columns: Iterable[Column]) -> Html:
    """The inputs of a row, one below the other; how a column is shown is in its kind."""
    parts = []
    for column in columns:
        value = row.get(column.key)
        if column.kind.target or value is None:
            continue
        if column.kind.picture is not None:
            parts.append(thumbnail(column.kind.picture(value)))
        else:
            parts.append(tag("div", foreign(column.kind.text(value) if column.kind.text is not None else value)))
    return join(parts)


def thumbnail(cell: Mapping[str, Any]) -> Html:
    """An image as a small data URI; a sentence where its file is gone."""
    from tunedeploy.device.encoders.image import open_image

    try:
        image = open_image(cell)
    except OSError:
        return tag("span", "the image cannot be read any more", class_="muted")
    image.thumbnail((PIXELS, PIXELS))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return tag("img", src=source, alt="", width=image.width, height=image.height)


def given_text(mistake: Mistake) -> str:
    """A wrong answer, with how sure the model is of it."""
    return mistake.given if mistake.probability is None else f"{mistake.given} ({mistake.probability:.0%})"


def mistakes(reviewed: Reviewed) -> Html:
    """The worst rows: what went in, what was right, what was given, and where the row is."""
    if reviewed.review.mistakes is None:
        return tag("p", NOT_KNOWN, class_="muted")
    each = [
        (
            tag("div", inputs, tag("small", foreign(place), class_="muted")),
            tag("span", foreign(mistake.right), class_="good"),
            tag("span", foreign(given_text(mistake)), class_="off"),
        )
        for mistake, inputs, place in zip(reviewed.review.mistakes, reviewed.inputs, reviewed.places, strict=True)
    ]
    if not each:
        return tag("p", "No row is wrong.")
    order = tag("p", f"Of {reviewed.variant}; {reviewed.review.order}.", class_="muted")
    return join((order, table(("input", "right", "given"), each, class_="stack")))
