"""One graph, called once."""

from dataclasses import dataclass

from ..encoders import Array
from ..signature import Arrays, Graph, Run


@dataclass(frozen=True, kw_only=True)
class Single:
    """The program of every model whose answer takes one pass; see programs.Program."""

    graph: Graph

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """The one graph."""
        return (self.graph,)

    def forward(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """The graph's outputs; the batch may hold more than its inputs."""
        return run(self.graph.name, self.graph.select(batch))

    answer = forward
