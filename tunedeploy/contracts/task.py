"""What a file in `tasks/` has to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from tunedeploy.contracts import NOTHING, Plugin, optional

if TYPE_CHECKING:
    import torch

    from tunedeploy.data.columns import Column
    from tunedeploy.data.read import Data
    from tunedeploy.device.decisions import Answers, Decision
    from tunedeploy.device.encoders import Array, DeviceEncoder, Encoder, Features, Row
    from tunedeploy.device.programs import Program
    from tunedeploy.device.signature import Graph
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.recipe.sections import Section, TrainOptions


IGNORE = -100  # of integer targets: what pads them, and places at which nothing is to be learned


class Report(TypedDict):
    """How good the answers on the evaluation split are.

    `metrics` has all of the decision's, and `text` is for people; `files` are further ones of the train stage, by name,
    and `details` further keys of its metrics.json.
    """

    metrics: dict[str, float]
    text: str
    files: dict[str, str]
    details: Mapping[str, object]


class Task(Plugin, Protocol):
    """What is learned: the columns, the model and its preprocessing, the loss, the answers and the metric.

    Its `Options` are keys of `data`. A row is a mapping from the keys of COLUMNS to values.
    """

    # The columns that it reads, in the order in which the user sees them.
    COLUMNS: Sequence[Column]
    # The key of the column that `tunedeploy predict INPUT` fills.
    BARE_INPUT: str
    # What other tools call the same task, for a recipe that writes one of these names.
    SYNONYMS: Sequence[str] = ()
    # Method to defaults that hold for the two together; they win over those of either.
    METHOD_DEFAULTS: Mapping[str, Mapping[str, Any]] = NOTHING
    # The same where the model is new, with random weights, which take other rates than pretrained ones: `new://...`.
    NEW_MODEL_DEFAULTS: Mapping[str, Mapping[str, Any]] = NOTHING
    # Models that `init` writes, each with its method: the first that is installed, or else the first.
    MODELS: Sequence[tuple[Any, str]] = ()
    # Keys that it adds to `tune`.
    TuneOptions: type[Section] | None = None

    def assemble(self, recipe: Recipe, data: Data) -> Assembly:
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
        """Read back what `save` wrote; a damaged folder may raise any error.

        `attention` is "sdpa", or "eager" for an exporter that wants it written out.
        """
        ...

    def device_encoder(self, folder: Path, facts: Mapping[str, Any]) -> DeviceEncoder:
        """The preprocessing as a device does it, without torch, from a model folder and `encoder.facts`.

        Raises:
            TypeError, KeyError, ValueError: the facts are not those of this task.
        """
        ...

    def graph(self, facts: Mapping[str, Any], labels: Sequence[str]) -> Graph:
        """The whole pass: what goes into the model and comes out, by `encoder.facts` and the labels of the data."""
        ...

    @optional
    def program(self, facts: Mapping[str, Any], labels: Sequence[str]) -> Program:
        """How the files are called, from the same arguments; if left out, one file is the whole pass."""
        from tunedeploy.device.programs.single import Single

        return Single(graph=self.graph(facts, labels))

    def decision(self, labels: Sequence[str]) -> Decision:
        """What an answer is."""
        ...

    def targets(self, rows: Sequence[Row], features: Sequence[Features] | None) -> Sequence[Mapping[str, Array]]:
        """The targets of each row, arrays by name; a first axis is padded with IGNORE to make a batch.

        `features` are the encoded rows where those are kept, as they are for all but images.
        """
        ...

    def loss(
        self,
        outputs: Mapping[str, torch.Tensor],
        targets: Mapping[str, torch.Tensor],
        options: TrainOptions | None,
        facts: Mapping[str, Any],
    ) -> torch.Tensor:
        """Sum of the losses of each row, float32 (rows,); see `weights`.

        Args:
            outputs: of the graph, by name.
            targets: a batch of them, or of single units where a head is trained on kept features.
            options: the recipe's `train` for a training step; None to evaluate, without smoothing and its like.
            facts: of the assembly.
        """
        ...

    @optional
    def weights(self, targets: Sequence[Mapping[str, Array]]) -> Array:
        """How many losses are in each row's sum, float64 (rows,): 1, or the number of its tokens."""
        import numpy as np

        return np.ones(len(targets))

    @optional
    def unit_targets(self, targets: Sequence[Mapping[str, Array]]) -> Sequence[Mapping[str, Array]]:
        """Targets of single units, in order, for a head on kept features; where a row is one unit, its own."""
        return targets

    @optional
    def classes_of(self, rows: Sequence[Row]) -> Array | None:
        """The class of each row, int64 (rows,), by which rare ones can be balanced; None where a row has no class."""
        del rows
        return None

    def metric_name(self, targets: Any, labels: Sequence[str]) -> str:
        """The metric that tells models apart on this evaluation split; `targets` are of `decision.targets`."""
        ...

    def report(self, answers: Answers, targets: Any, labels: Sequence[str]) -> Report:
        """How good answers are; `targets` are of `decision.targets`."""
        ...

    def edge_rows(self, sample: Row) -> list[Row]:
        """Rows that break careless exports; `sample` is a real row, whose optional columns they should have too."""
        ...

    def contradictions(self, folder: Path, facts: Mapping[str, Any]) -> list[str]:
        """Parts of a model folder, read by other programs to encode, that contradict the facts."""
        ...

    @optional
    def golden_row(self, row: Row, facts: Mapping[str, Any]) -> Row:
        """A row as the parity kit keeps it: cut where the outputs for all of it would be too large for a bundle.

        Args:
            row: raw.
            facts: those of the encoder.
        """
        del facts
        return row

    @optional
    def broken_rows(self) -> list[Row]:
        """Rows that every preprocessing must refuse with OSError or ValueError; none where every row has an answer."""
        return []

    @optional
    def rewritten(self, folder: Path, trained: Encoder) -> list[str]:
        """Parts of a model folder's preprocessing that differ from training's; none where rows show all of it."""
        del folder, trained
        return []
