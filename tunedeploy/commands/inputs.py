"""What `predict` answers: texts, image files, standard input, whole files of rows, folders of images."""

import re
from pathlib import Path

from tunedeploy.device.files import read_json
from tunedeploy.device.goldens import FOLDER
from tunedeploy.proof.bundle import Bundle

SAMPLE_LETTERS = 40  # of an example, at most: a command that is read at a glance


def example_input(dist: Path) -> str | None:
    """An input that a bundle's model answers, from its goldens; None where an input is more than one value."""
    bundle = Bundle(dist)
    if bundle.manifest["recipe"]["data"].get("text_pair"):
        return None
    for row in read_json(dist / FOLDER / "golden.json")["rows"]:
        value = row.get(bundle.encoder.key)
        if isinstance(value, str) and (dist / FOLDER / value).is_file():
            return str(dist / FOLDER / value)
        if isinstance(value, str) and re.fullmatch(r"[^-\s].*", value):
            return value if len(value) <= SAMPLE_LETTERS else value[:SAMPLE_LETTERS].rpartition(" ")[0] or None
    return None
