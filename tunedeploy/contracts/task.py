"""What a file in `tasks/` has to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tunedeploy.contracts import NOTHING, Plugin, optional

if TYPE_CHECKING:
    import torch

    from tunedeploy.data.columns import Column
    from tunedeploy.device.encoders import Array, Encoder, Row
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.recipe.sections import Section


class Task(Plugin, Protocol):
    """What is learned: the columns, the model and its preprocessing, the loss and the metric.

    Its `Options` are keys of `data`. A row is a mapping from the keys of COLUMNS to values.
    """

    # The columns that it reads, in the order in which the user is told of them.
    COLUMNS: Sequence[Column]
    # The key of the column that `tunedeploy predict INPUT` fills.
    BARE_INPUT: str
    # What other tools call the same task, for a recipe that writes one of these names.
    SYNONYMS: Sequence[str] = ()
    # Method to defaults that hold for the two together; they win over those of either.
    METHOD_DEFAULTS: Mapping[str, Mapping[str, Any]] = NOTHING
    # Keys that it adds to `tune`.
    TuneOptions: type[Section] | None = None

    def assemble(self, recipe: Recipe, labels: int) -> Assembly:
        """The model before training, float32 on the CPU in eval mode, and its encoder.

        Raises:
            RecipeError: a value does not fit the task or the checkpoint.
            ModelError: the checkpoint cannot be opened.
        """
        ...

    def save(self, assembly: Assembly, labels: tuple[str, ...], folder: Path) -> None:
        """Write a plain model folder that holds all that `load` needs."""
        ...

    def load(self, folder: Path, *, attention: str = "sdpa") -> Assembly:
        """Read back what `save` wrote; any error of a damaged folder may leave it.

        `attention` is "sdpa", or "eager" for an exporter that wants it written out.
        """
        ...

    def device_encoder(self, folder: Path, facts: Mapping[str, Any]) -> Encoder:
        """The preprocessing as a device does it, without torch, from a model folder and `encoder.facts`.

        Raises:
            TypeError, KeyError, ValueError: the facts are not those of this task.
        """
        ...

    def dynamic_axes(self, facts: Mapping[str, Any]) -> dict[str, dict[int, str]]:
        """Name of each ONNX input to its free axes, each with its name; axis 0 is "batch"."""
        ...

    def targets(self, rows: Sequence[Row]) -> Array:
        """What is to be learned of each row: the label's index, int64 (rows,)."""
        ...

    def loss(self, logits: torch.Tensor, label_ids: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Loss of each row, float32 (rows,), of logits (rows, labels) and indices (rows,); smoothing is in 0..1."""
        ...

    def metric_name(self, label_ids: Array) -> str:
        """The metric that tells models on this evaluation split apart, of indices (rows,)."""
        ...

    def score(self, metric: str, logits: Array, label_ids: Array) -> float:
        """The metric in percent, of logits (rows, labels) and indices (rows,).

        Raises:
            RunError: there is no such metric.
        """
        ...

    def edge_rows(self, sample: Row) -> list[Row]:
        """Rows that break careless exports; `sample` is a real row, whose optional columns they should have too."""
        ...

    def contradictions(self, folder: Path, facts: Mapping[str, Any]) -> list[str]:
        """Parts of a model folder, by which other programs encode, that say otherwise than the facts."""
        ...

    @optional
    def broken_rows(self) -> list[Row]:
        """Rows that every preprocessing must refuse with OSError or ValueError; none where every row has an answer."""
        return []

    @optional
    def rewritten(self, folder: Path, trained: Encoder) -> list[str]:
        """Parts of a model folder's preprocessing that are not those of training; none where rows show all of it."""
        del folder, trained
        return []
