"""Raw rows to model inputs with numpy alone: the half of preprocessing that runs on a device, without torch.

An encoder has three functions. `encode(rows)` turns raw rows into features, one dict of arrays a row;
`collate(features, size)` turns features into the model's inputs, one array a name with the batch first;
`sizes(features)` says over which sizes (sequence lengths, image sides) the exported file must be tried.
`facts` is what a device needs to know to do the same, as JSON. A file here is a kind of input: the facts name it.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .. import typed
from ..errors import PackageError

if TYPE_CHECKING:
    from ..signature import Value

Array = NDArray[Any]
Row = Mapping[str, Any]  # a raw row, by the task's canonical columns
Features = Mapping[str, Array]  # one row, ready to be put into a batch
Inputs = dict[str, Array]  # one batch: name of the ONNX input -> (batch, ...)


class Encoder(Protocol):
    """What every encoder does; see the module's docstring.

    Attributes:
        tolerance: what two honest implementations of it may differ by: ids by nothing, pixels by a few ulp.
        small: whether features take little room and time to make, so that those of a whole data set are kept.
    """

    tolerance: float
    small: bool

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a device must know to encode alike, JSON."""
        ...

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Raw rows to features, in order."""
        ...

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """Features to one batch; `size` cuts or pads to that length or side instead of the batch's own."""
        ...

    def sizes(self, features: Sequence[Features]) -> list[int | None]:
        """Sizes to try an exported file at; [None] where the size is fixed."""
        ...


@runtime_checkable
class Decodes(Protocol):
    """What the encoder of a generating program does in addition."""

    def decode(self, ids: Array) -> list[str]:
        """Generated ids, int64 (batch, steps), as texts, (batch,)."""
        ...


class DeviceEncoder(Encoder, Protocol):
    """An encoder that a bundle is opened with."""

    key: str  # the column that an input without a name fills

    def values(self) -> "tuple[Value, ...]":
        """What of a batch goes into the graph."""
        ...

    def portable(self, row: Row, at: int, folder: Path) -> dict[str, str | list[str]]:
        """A raw row as JSON, its number `at` naming the files that it needs in `folder`."""
        ...

    def contradictions(self, folder: Path) -> list[str]:
        """Parts of the files, read by other programs to encode, that contradict the facts."""
        ...


def open_encoder(folder: Path, facts: Mapping[str, Any]) -> DeviceEncoder:
    """The encoder of a bundle's folder, by the kind that its facts name.

    Raises:
        PackageError: the package that it needs is not installed.
        RunError: a file that it needs is missing.
        Mismatch: there is no such kind, or another fact is missing, unknown or has another value than it can have.
    """
    kind = facts.get("kind")
    known = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    if kind not in known:
        raise typed.Mismatch(f"kind: {kind!r} is not a kind of input; known: {', '.join(known)}")
    try:
        opened: DeviceEncoder = importlib.import_module(f".{kind}", __name__).opened(folder, facts)
    except ModuleNotFoundError as error:
        name = "Pillow" if error.name == "PIL" else error.name
        raise PackageError(f"inputs of kind {kind!r} need the package {name}; pip install {name}") from error
    return opened


def in_batches(count: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Indices 0..count-1 in order, `batch_size` at a time."""
    return [np.arange(at, min(at + batch_size, count)) for at in range(0, count, batch_size)]
