"""How graphs make outputs: one pass, or a loop over steps; a file here is a way."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from .. import typed
from ..encoders import Array
from ..signature import Arrays, Graph, Run


class Program(Protocol):
    """How the graphs of a bundle are called, by whatever runs them."""

    generates: ClassVar[bool]  # whether `answer` is another thing than `forward`: a loop that makes a text

    @property
    def facts(self) -> Mapping[str, Any]:
        """`kind`, the file's name, and what else `opened` takes; JSON."""
        ...

    @property
    def graph(self) -> Graph:
        """The whole pass: what `forward` takes from a batch, and what it gives; a single graph itself."""
        ...

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """The graphs, each a file, the one that makes the outputs last."""
        ...

    def forward(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """One pass, with the right answer as prefix where there are steps: what is compared and judged."""
        ...

    def cuts(self, batch: Arrays) -> Sequence[tuple[int, ...]]:
        """Ways to cut the pass into calls that hand on a state, each the steps at which a call begins; often none."""
        ...

    def forward_in_calls(self, run: Run, batch: Arrays, cut: tuple[int, ...]) -> dict[str, Array]:
        """The pass, cut; its outputs are those of `forward`."""
        ...

    def forced(self, batch: Arrays, sequences: Array) -> dict[str, Array]:
        """A batch whose right answers are these generated ids, (batch, steps); of a program that generates."""
        ...

    def answer(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """What an app does: `forward`, or the loop that generates, which gives SEQUENCES."""
        ...


SEQUENCES = "sequences"  # int64 (batch, steps): the ids that a loop generated; after a row's end, its facts' `pad_id`


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A program under one Run, called like a single graph: a batch in, the outputs of the whole pass out."""

    program: Program
    run: Run

    def __call__(self, batch: Arrays) -> dict[str, Array]:
        """The outputs of one batch, which may hold more than the pass takes."""
        return self.program.forward(self.run, batch)

    def in_calls(self, batch: Arrays, cut: tuple[int, ...]) -> dict[str, Array]:
        """The same, cut into calls; see Program.cuts."""
        return self.program.forward_in_calls(self.run, batch, cut)


def open_program(facts: Mapping[str, Any], graph: Graph) -> Program:
    """The program of a bundle, by the kind that its facts name.

    Args:
        facts: as the manifest has them.
        graph: what the encoder makes and the decision reads, which is the graph itself where there is a single one.

    Raises:
        Mismatch: there is no such kind, or another fact is missing, unknown or has another value than it can have.
    """
    kind = facts.get("kind")
    known = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    if kind not in known:
        raise typed.Mismatch(f"kind: {kind!r} is not a kind of program; known: {', '.join(known)}")
    program: Program = importlib.import_module(f".{kind}", __name__).opened(facts, graph)
    return program
