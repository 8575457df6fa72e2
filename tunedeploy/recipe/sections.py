"""The records a recipe is read into: a frozen, strict `Section` for each part, every default with its reason.

A plug-in adds keys by a `Section` of its own named `Options`; `recipe.read` joins it with the record here, so that
`recipe.tune` is an instance of both `TuneOptions` and the method's `Options`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

DATA_SUFFIXES = (
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".conll", ".conllu", ".iob", ".iob2", ".bio",
    ".gz", ".zip",
)  # fmt: skip
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")


class Section(BaseModel):
    """Base of every options record: frozen, no unknown key, no conversion between types, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),  # a key may be named model_something
    )


@dataclass(frozen=True)
class OnDisk:
    """Marks a text key that may name a file or folder: `Annotated[str, OnDisk((".csv",))]`.

    What exists relative to the recipe becomes absolute. What can only be a path (it has one of `suffixes`, or starts
    with `./`, `../`, `/` or `~`) and does not exist is a mistake. Anything else, a hub id for one, stays as written.
    """

    suffixes: tuple[str, ...] = ()


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def _seconds(budget: str) -> int:
    match = _DURATION.fullmatch(budget)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return hours * 3600 + minutes * 60 + seconds


def _duration(budget: str) -> str:
    if not _seconds(budget):
        raise ValueError(f"must be a length of time such as '20m', '1h30m' or '90s', not {budget!r}")
    return budget


def _names(value: Any) -> Any:
    """`int8`, `int8,fp16` or a list, as a tuple without repeats; wrong types pass through to be reported."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",")]
    if not isinstance(value, list):
        return value
    return tuple(dict.fromkeys(value)) if all(isinstance(name, str) for name in value) else tuple(value)


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_names), Field(min_length=1)]


class ModelOptions(Section):
    """`model: NAME`, or `model: {name: NAME, weights: FILE}`."""

    name: Annotated[Text, OnDisk()] = Field(
        description="A folder, a hub id, pkg://package/folder or torchvision://backbone."
    )
    weights: Annotated[Text | None, OnDisk(WEIGHT_SUFFIXES)] = Field(
        default=None, description="A file of weights to start from instead of the model's own."
    )  # most models bring their own


class DataOptions(Section):
    """What is learned from. The task adds the names of its columns."""

    train: Annotated[Text, OnDisk(DATA_SUFFIXES)] = Field(
        description="A file, a folder of class folders, or a hub id.", examples=["reviews.csv"]
    )
    eval: Annotated[Text | None, OnDisk(DATA_SUFFIXES)] = Field(
        default=None, description="A file, a folder, or the name of a split; empty for an automatic split."
    )  # most people come with one file
    eval_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the rows that the automatic split sets aside for evaluation."
    )  # a fifth of 500 rows still tells 80 % from 90 %
    group: Text | None = Field(
        default=None, description="Column whose equal values stay on one side of the automatic split."
    )  # rows of most files are independent of each other
    limit: int | None = Field(default=None, ge=1, description="Use only the first N rows: a quick trial.")  # all
    skip_bad: bool = Field(
        default=False, description="Leave out any row with a cell that cannot be read, and list them."
    )  # a wrong column or folder makes all rows unreadable, which is better known


class TuneOptions(Section):
    """How the model is tuned. The method and the task add their keys."""

    method: Text = Field(
        default="lora", description="The tuning method."
    )  # near full fine-tuning's accuracy with a hundredth of its optimizer state


class TrainOptions(Section):
    """The training loop. The objective adds its own keys."""

    epochs: int = Field(default=3, ge=1, description="Passes over the data.")  # a small text set has settled by then
    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate.")  # right for the default method, lora
    batch_size: int = Field(default=32, ge=1, description="Rows per step.")  # the largest that fits 4 GB at 128 tokens
    accumulate: int = Field(default=1, ge=1, description="Batches summed before each update.")  # memory is rarely short
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Arithmetic of the forward and backward pass."
    )  # bf16 only pays on hardware that has it
    optimizer: Literal["adamw", "sgd"] = "adamw"  # needs the least tuning of its rate
    schedule: Literal["linear", "cosine", "step", "one-cycle", "constant"] = Field(
        default="linear", description="How the learning rate falls from its peak."
    )  # ends at zero, so the last weights are settled ones
    warmup: float = Field(
        default=0.06, ge=0, le=1, description="Share of the steps over which the learning rate rises."
    )  # RoBERTa's; Adam's first second-moment estimates are noise
    weight_decay: float = Field(default=0.01, ge=0)  # AdamW's usual; biases and norms are exempt
    clip: float = Field(default=1.0, ge=0, description="Limit on the gradient norm; 0 = off.")  # only spikes exceed 1
    patience: int | None = Field(
        default=None, ge=1, description="Stop after this many epochs without improvement."
    )  # off: the best checkpoint is kept anyway
    seed: int = Field(default=0, ge=0, lt=2**32)  # numpy's largest seed bounds it
    save_steps: int | None = Field(default=None, ge=1, description="Save every N steps.")  # null: once an epoch
    budget: Annotated[str, AfterValidator(_duration)] | None = Field(
        default=None, description="Limit on the training time.", examples=["20m", "1h30m", "90s"]
    )  # epochs decide
    balance: Literal["auto", "none", "weights", "resample"] = Field(
        default="auto", description="How rare classes are handled."
    )  # weights only when the data is skewed
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)  # it costs calibration, so it is asked for
    augment: Literal["none", "light", "medium", "strong"] = Field(
        default="none", description="Random changes to training images."
    )  # a flipped digit is another digit: the user knows which change is harmless
    objective: Text | None = Field(
        default=None, description="What is minimised in addition to the task's loss."
    )  # the loss alone is the shortest way to the metric
    threads: int | None = Field(default=None, ge=1, description="CPU threads.")  # null: torch's own choice, a core each

    @property
    def budget_s(self) -> int | None:
        """`budget` in seconds; None without one."""
        return None if self.budget is None else _seconds(self.budget)


class ExportOptions(Section):
    """What is shipped. The precisions and the target add their keys."""

    quantize: Names = Field(
        default=("fp32",), description="Precisions to ship besides fp32: a name, or a list of names."
    )  # nothing is lost unless asked for
    max_drop: float = Field(
        default=1.0,
        ge=0,
        description="What a precision may lose: points of a metric in %, percent of any other metric.",
    )  # below it, int8 cannot be told from the luck of the split on 1,000 rows
    max_size: float | None = Field(default=None, gt=0, description="Largest model file, in MB.")  # the app decides
    max_latency: float | None = Field(default=None, gt=0, description="Largest median latency, in ms.")  # as with size
    target: Text = Field(default="python", description="Where it runs.")  # needs nothing that training did not
    dynamic_size: bool = Field(
        default=False, description="Images: any height and width."
    )  # fixed sizes fold to a faster graph
    opset: int = Field(default=20, ge=17, le=23, description="ONNX operator set.")  # 17 has LayerNorm; 20 has Gelu


RECORDS: dict[str, type[Section]] = {
    "model": ModelOptions,
    "data": DataOptions,
    "tune": TuneOptions,
    "train": TrainOptions,
    "export": ExportOptions,
}
