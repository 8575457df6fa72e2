"""Load a bundle and use it: predict, score, verify; needs numpy, onnxruntime and tokenizers or Pillow, no torch."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from . import external_data, typed, verify
from .comparison import CHECKS, Comparison, tried
from .decisions import Answers, Decision, open_decision
from .encoders import Array, DeviceEncoder, Row, open_encoder
from .errors import RunError
from .goldens import FOLDER
from .inside import inside
from .integrity import integrity
from .manifest import GRAPH, MANIFEST, Manifest, bundle_id, files_of, parse_manifest, read_bytes
from .parts import Parts
from .programs import Program, open_program
from .runtime import Session, Sessions
from .signature import Arrays, Graph, Run, read_graph


class Bundle:
    """A bundle on disk.

    Args:
        path: the folder with manifest.json.

    Raises:
        RunError: the folder is not a bundle.
    """

    def __init__(self, path: Path) -> None:
        if not (path / MANIFEST).is_file():
            raise RunError(f"{path}: is not a bundle: missing manifest.json; 'tunedeploy export' writes one")
        self.path = path
        content = read_bytes(path)
        self.id = bundle_id(content)
        self.manifest: Manifest = parse_manifest(content, path)
        self.labels: tuple[str, ...] = tuple(self.manifest["labels"])
        self._sessions: dict[str, Sessions] = {}

    @cached_property
    def encoder(self) -> DeviceEncoder:
        """The bundle's preprocessing."""
        try:
            return open_encoder(self.path, self.manifest["preprocessing"])
        except typed.Mismatch as error:
            raise RunError(f"{self.path / MANIFEST}: preprocessing: {error}") from error

    @cached_property
    def decision(self) -> Decision:
        """What an answer of this bundle is."""
        try:
            return open_decision(self.manifest.get("decision", {"kind": "classes"}), self.labels)
        except typed.Mismatch as error:
            raise RunError(f"{self.path / MANIFEST}: decision: {error}") from error

    @cached_property
    def program(self) -> Program:
        """How its graphs are called, by what the encoder makes and the decision reads.

        Raises:
            RunError: the manifest describes other graphs, or the decision reads arrays that the encoder does not make.
        """
        own = Graph(name=GRAPH, inputs=self.encoder.values(), outputs=(self.decision.output,))
        beside = self.manifest["preprocessing"].get("beside", [])
        try:
            lacking = [array for array in self.decision.beside if array not in beside]
            if lacking:
                raise typed.Mismatch(f"preprocessing: missing {lacking[0]}, which the decision needs")
            program = open_program(self.manifest.get("program", {"kind": "single"}), own)
            self._fits(program, own)
        except typed.Mismatch as error:
            raise RunError(f"{self.path / MANIFEST}: {error}") from error
        return program

    def _fits(self, program: Program, own: Graph) -> None:
        """Raise Mismatch where graphs, files, encoder and decision are not those of this program."""
        named = [value.name for value in program.graph.outputs] == [value.name for value in own.outputs]
        if program.graph.inputs != own.inputs or not named:
            raise typed.Mismatch("program: inputs or outputs do not match preprocessing and decision")
        stated = self.encoder.facts.get("program", program.facts)
        if stated != program.facts:
            raise typed.Mismatch("program: differs from preprocessing.program")
        described = self.manifest.get("graphs")  # schema 1 has none
        names = [graph.name for graph in program.graphs]
        unlike = described is not None and (
            sorted(described) != sorted(names)
            or any(read_graph(graph.name, described[graph.name]) != graph for graph in program.graphs)
        )
        if unlike:
            raise typed.Mismatch(
                "graphs: expected one graph, 'model', as described by preprocessing and decision"
                if names == [GRAPH]
                else f"graphs: expected {', '.join(names)}, as described by the program"
            )
        for name, variant in self.manifest["variants"].items():
            if list(files_of(variant)) != names:
                raise typed.Mismatch(f"variants.{name}: expected a file for each of {', '.join(names)}")

    @property
    def graph(self) -> Graph:
        """The whole pass: which arrays of a batch go in, and what comes out."""
        return self.program.graph

    @cached_property
    def parts(self) -> Parts:
        """The encoder, program and decision, which need no weights."""
        return Parts(encoder=self.encoder, program=self.program, decision=self.decision)

    def session(self, variant: str = "fp32") -> Session:
        """The session of a variant's file; of several files, that of the one that makes the answers."""
        return self.sessions(variant).last

    def sessions(self, variant: str = "fp32") -> Sessions:
        """The sessions of a variant, opened once.

        Raises:
            RunError: the bundle has no such variant, or its file does not load.
        """
        variants = self.manifest["variants"]
        if variant not in variants:
            raise RunError(f"{self.path}: no variant {variant!r}; it has {', '.join(variants)}")
        if variant not in self._sessions:
            paths = {graph: inside(self.path, file) for graph, file in files_of(variants[variant]).items()}
            for part in (part for path in paths.values() for part in external_data.parts_of_file(path)):
                inside(self.path, part.relative_to(self.path).as_posix())
            self._sessions[variant] = Sessions(paths)
        return self._sessions[variant]

    def run(self, variant: str = "fp32") -> Run:
        """What runs the graphs of a variant; it raises RunError where a file refuses a batch or gives another shape."""
        graphs = {graph.name: graph for graph in self.program.graphs}
        return lambda graph, inputs: _checked(self.sessions(variant).of_graph[graph], graphs[graph], inputs)

    def outputs(self, inputs: Arrays, variant: str = "fp32") -> dict[str, Array]:
        """Outputs of the whole pass for one batch, by name.

        Raises:
            RunError: a file refuses the batch, or gives another shape.
        """
        return self.program.forward(self.run(variant), inputs)

    def answers(
        self,
        rows: Sequence[Row],
        variant: str = "fp32",
        progress: Callable[[int], Any] | None = None,
        *,
        metric: str | None = None,
    ) -> Answers:
        """The evidence for the answers to raw rows, and the texts where the metric that is named compares them.

        Raises:
            RunError: as `outputs`, or some of it is NaN or infinity, of which no answer can be made.
        """
        self.sessions(variant)
        return self._finite(self.parts.answers(self.run(variant), rows, progress, metric=metric), variant)

    def _finite(self, answers: Answers, variant: str) -> Answers:
        if not np.isfinite(answers.evidence).all():
            raise RunError(f"{self.session(variant).path}: gives NaN or infinity")
        return answers

    def predict(self, inputs: Sequence[Any], variant: str = "fp32") -> list[dict[str, Any]]:
        """The answer to each input, such as a label and its probability.

        Args:
            inputs: each a text, a row with `text` and `text_pair`, an image or its path.
            variant: fp32, int8, ...; all but fp32 answer a row at a time, see Parts.one_by_one.
        """
        if isinstance(inputs, str | bytes | Mapping):
            raise TypeError("predict takes a list of inputs; write predict([one])")
        rows = [value if isinstance(value, Mapping) else {self.encoder.key: value} for value in inputs]
        if self.manifest["recipe"]["data"].get("text_pair") and any(row.get("text_pair") is None for row in rows):
            raise TypeError("this model reads pairs; give rows with 'text' and 'text_pair'")
        if not rows:
            return []
        parts = self.parts.one_by_one(variant)
        if self.program.generates:
            return [{"text": text} for text in parts.generated(self.run(variant), rows)]
        answers = self._finite(parts.answers(self.run(variant), rows), variant)
        return [dict(record) for record in self.decision.show(answers, rows)]

    def score(self, rows: Sequence[Row], variant: str = "fp32", progress: Callable[[int], Any] | None = None) -> float:
        """The bundle's metric on labelled rows."""
        answers = self.answers(rows, variant, progress, metric=self.manifest["metric"])
        return self.decision.score(self.manifest["metric"], answers, self.decision.targets(rows))

    def verify(self, checks: Collection[str] = CHECKS, *, strict: bool = False) -> list[Comparison]:
        """Every comparison asked for; breaches are in the list, nothing is raised for them.

        Args:
            checks: names out of CHECKS.
            strict: what pytest leaves beside the kit counts as an added file.
        """
        comparisons: list[Comparison] = []
        if "integrity" in checks:
            look = partial(integrity, self, pytest_ran=not strict)
            comparisons += tried(look, stage="bundle", file=MANIFEST)
        golden_checks = [check for check in CHECKS[1:] if check in checks]
        if golden_checks:
            comparisons += tried(verify.against_goldens, self, golden_checks, stage="bundle", file=FOLDER)
        return comparisons

    def facts_kept(self, arrays: Mapping[str, Array], checks: Collection[str]) -> list[Comparison]:
        """Further statements of the bundle about itself, checked where tunedeploy is installed; see proof.bundle."""
        del arrays, checks
        return []

    def graph_kept(self, variant: str) -> list[Comparison]:
        """Further checks of a variant's graph; a device has no package that reads one."""
        del variant
        return []


def _checked(session: Session, graph: Graph, inputs: Arrays) -> dict[str, Array]:
    outputs, shapes = session(inputs), graph.shapes(inputs)
    for value in graph.outputs:
        got, expected = outputs.get(value.name), shapes[value.name]
        if got is None:
            raise RunError(f"{session.path}: has no output {value.name!r}")
        if got.shape != expected or got.dtype != value.dtype:
            raise RunError(f"{session.path}: gives {got.dtype} {got.shape}, expected {value.dtype} {expected}")
    return outputs


def load_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder.

    Raises:
        RunError: the folder is not a bundle.
    """
    return Bundle(Path(path))
