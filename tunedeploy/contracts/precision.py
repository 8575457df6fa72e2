"""What a file in `precisions/` has to have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tunedeploy.contracts import Plugin

if TYPE_CHECKING:
    from tunedeploy.device.encoders import Inputs
    from tunedeploy.graphs.reading import Rewrite
    from tunedeploy.recipe.sections import ExportOptions
    from tunedeploy.run.results import Setting


class Precision(Plugin, Protocol):
    """What the weights become. Its `Options` are keys of `export`; `options` is that section, which has them."""

    # Name of its file in the bundle.
    FILE: str
    # What its operators stand for in float32; without it only answers judge the file, and the ledger says so.
    REWRITES: Sequence[Rewrite] | None = None
    # Whether it multiplies integers, whose products some kinds of CPU add up differently.
    INTEGERS: bool = False

    def candidates(self, source: Path, options: ExportOptions, samples: Sequence[Inputs]) -> list[Setting]:
        """Ways to convert the float32 file `source`, in the order in which they are tried.

        The records and the manifest keep the one that is taken. `samples` are encoded batches of training rows.

        Raises:
            RecipeError: an option does not fit the file.
        """
        ...

    def convert(self, source: Path, target: Path, setting: Setting, samples: Sequence[Inputs]) -> None:
        """Write `target` by one of the candidates; its inputs and outputs have the names and types of `source`.

        Raises:
            ModelError: the converter cannot do it.
            BudgetError: the weights do not fit into the precision.
        """
        ...
