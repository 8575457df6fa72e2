"""float32: the exported file as it is; always shipped, since every other precision is judged against it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tunedeploy.device.encoders import Inputs
from tunedeploy.device.external_data import parts_of_file
from tunedeploy.recipe.read import Section
from tunedeploy.run.results import Setting

FILE = "model.onnx"


class Options(Section):
    """Keys of `export`: none."""


def candidates(source: Path, options: Options, samples: Sequence[Inputs] = ()) -> list[Setting]:
    """Nothing to convert."""
    del source, options, samples
    return []


def convert(source: Path, target: Path, setting: Setting, samples: Sequence[Inputs]) -> None:
    """The file as it is."""
    del setting, samples
    for part in parts_of_file(source):
        shutil.copyfile(part, target.with_name(part.name))
