"""How graphs make outputs: one pass, or a loop over steps; a file a way."""

from typing import Protocol

from ..encoders import Array
from ..signature import Arrays, Graph, Run


class Program(Protocol):
    """How the graphs of a bundle are called, by whatever runs them."""

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """The graphs, the one that makes the scores last."""
        ...

    def forward(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """One pass, with the right answer as prefix where there are steps: what is compared and judged."""
        ...

    def answer(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """What an app does: `forward`, or the loop that generates."""
        ...
