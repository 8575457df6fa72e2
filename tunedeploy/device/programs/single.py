"""One graph, called once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import typed
from ..encoders import Array
from ..signature import Arrays, Graph, Run


@dataclass(frozen=True, kw_only=True)
class Single:
    """The program of every model whose answer takes one pass; see programs.Program."""

    graph: Graph
    generates: ClassVar[bool] = False

    @property
    def facts(self) -> dict[str, str]:
        """Only the kind."""
        return {"kind": "single"}

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """The one graph."""
        return (self.graph,)

    def forward(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """The graph's outputs; the batch may hold more than its inputs."""
        return run(self.graph.name, self.graph.select(batch))

    def cuts(self, batch: Arrays) -> Sequence[tuple[int, ...]]:
        """None: there is one call."""
        del batch
        return ()

    def forward_in_calls(self, run: Run, batch: Arrays, cut: tuple[int, ...]) -> dict[str, Array]:
        """See `cuts`."""
        del cut
        return self.forward(run, batch)

    def forced(self, batch: Arrays, sequences: Array) -> dict[str, Array]:
        """Nothing is generated."""
        raise NotImplementedError

    answer = forward


def opened(facts: Mapping[str, Any], graph: Graph) -> Single:
    """The program of a bundle.

    Raises:
        Mismatch: there is a fact that this kind does not have.
    """
    if set(facts) != {"kind"}:
        raise typed.Mismatch(f"{min(set(facts) - {'kind'})}: unknown")
    return Single(graph=graph)
