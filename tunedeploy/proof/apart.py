"""How far the outputs of two programs lie apart, over many batches: each output by its own noise floor and range."""

from dataclasses import dataclass, field

import numpy as np

from tunedeploy.device import agreement
from tunedeploy.device.encoders import Array
from tunedeploy.device.signature import Arrays, Graph, Value, elements


@dataclass
class Apart:
    """The differences measured so far for one output of two programs."""

    value: Value
    difference: float = 0.0
    where: str = ""
    floor: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")

    @property
    def spread(self) -> float:
        """Largest minus smallest value of the first program, never 0."""
        return max(self.high - self.low, 1e-6)  # before any value, high - low is -inf

    @property
    def limit(self) -> float:
        """The largest difference allowed between two float32 programs."""
        return agreement.tolerance(self.floor, self.spread)

    @property
    def share(self) -> float:
        """The difference as a share of the limit; infinite where the difference is not finite."""
        share = self.difference / self.limit
        return share if np.isfinite(share) else float("inf")

    def see(self, values: Array) -> None:
        """Widen the range by values of the first program; values that are not finite are ignored."""
        finite = values[np.isfinite(values)]
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))

    def see_only(self, values: Array) -> None:
        """Replace the range by that of these values."""
        self.low, self.high = float("inf"), float("-inf")
        self.see(values)


@dataclass
class Outputs:
    """The outputs of one graph."""

    graph: Graph
    apart: dict[str, Apart] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.apart = {value.name: Apart(value=value) for value in self.graph.outputs}

    def compare(self, inputs: Arrays, first: Arrays, second: Arrays, names: list[str], how: str = "") -> None:
        """Compare two programs on one batch; `names` are those of its rows, `how` says what kind of batch it is."""
        for name, apart in self.apart.items():
            first_values, rows = elements(apart.value, first[name], inputs)
            second_values, _ = valid(apart.value, second[name], inputs)
            difference, at = agreement.largest_difference(first_values, second_values)
            apart.see(first_values)
            if difference > apart.difference:
                apart.difference, apart.where = difference, names[int(rows[at]) if len(rows) else 0] + how

    def measure_floor(self, inputs: Arrays, single: Arrays, double: Arrays) -> None:
        """Raise each floor to the noise of the first program, float32 against float64, on one batch."""
        for name, apart in self.apart.items():
            floor = noise_floor(apart.value, inputs, single[name], double[name])
            apart.floor = max(apart.floor, floor)

    def worst(self) -> Apart:
        """The output that uses the largest share of its limit."""
        return max(self.apart.values(), key=lambda apart: apart.share)


def valid(value: Value, output: Array, inputs: Arrays) -> tuple[Array, Array]:
    """As `signature.elements`; an output whose shape is not its mask's is returned whole, and so its shape differs."""
    if value.valid is not None and output.shape[:2] != inputs[value.valid].shape:
        return output, np.arange(len(output))
    return elements(value, output, inputs)


def noise_floor(value: Value, inputs: Arrays, single: Array, double: Array) -> float:
    """max |float32 - float64| of an output's valid elements."""
    return agreement.noise_floor(valid(value, single, inputs)[0], valid(value, double, inputs)[0])
