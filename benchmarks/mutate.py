"""Mutation testing of `verify`: random single changes of ONNX files, and how many of those that show it stops.

    python benchmarks/mutate.py [--file NAME ...] [--count 500] [--seed 0] [--only NUMBER]

The files are those of two tiny finished runs: texts (BERT, LoRA, dynamic int8) and images (ResNet, full, static QDQ).
Each mutant has one change of tests/faults/mutations.py. It is live if it shows on rows that verify does not use: fresh
texts and images, batches of up to 40, every length and every token. `verify` then judges the run with all hashes
repaired and no bundle beside it; the quantized file's own record is made anew, as if the converter had written the
mutant, and a float32 file is judged without a quantized one. Any breach stops the mutant. Set apart are

- equivalent mutants, whose answers are the file's own, but for the noise of float32;
- those that differ only once onnxruntime has fused them: as written they compute the same;
- those that onnxruntime does not load, or that run on no batch.

Prints a row for each file and kind of change, and each missed mutant with the largest difference that it makes: of a
float32 file in noise floors, of a quantized one in its own typical drift from float32. Exits 1 if a file is under
`--least` percent. About half a second a mutant; with `--only`, one mutant is tried and what verify says of it printed.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout: this file is run by its path too

import numpy as np
import onnx
import onnxruntime
from PIL import Image

from tests import tiny
from tests.faults.judging import FP32, INT8, judge_anew
from tests.faults.mutations import mutant
from tests.finished import Finished, build, repair_run
from tunedeploy import api
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, tried
from tunedeploy.device.encoders import Array, Features, Inputs
from tunedeploy.errors import RunError
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.models import runs
from tunedeploy.proof.scene import Scene, scene_of
from tunedeploy.stages import verify

FILES = {
    "text-fp32": ("text-classification", FP32),
    "text-int8": ("text-classification", INT8),
    "image-fp32": ("image-classification", FP32),
    "image-int8": ("image-classification", INT8),
}
BATCHES = (1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 40)
VISIBLE = 1e-6  # of the output's range: what two runs of one int8 file never differ by
SHARED = {
    FP32: ("merged", "torch", "double"),
    INT8: ("merged", "torch", "double", "onnx", "parts", "rows", "reference"),
}
FATES = ("stopped", "missed", "equivalent", "by fusion", "not loaded")
Check = Callable[[Scene], list[Comparison]]


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of a mutant; `size` is its largest difference, in noise floors or drifts."""

    number: int
    kind: str
    what: str
    fate: str
    size: float = 0.0
    lines: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Trial:
    """A file of a finished run, with what does not change from mutant to mutant."""

    name: str
    run: Finished
    file: str
    seconds: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The file as it is."""
        return onnx.load(self.run.run / self.file)

    @cached_property
    def scene(self) -> Scene:
        """What verify looks at, of the healthy run."""
        scene = scene_of(api.recipe_of(self.run.run), self.run.rundir)
        for name in SHARED[self.file]:
            getattr(scene, name)
        return scene

    @cached_property
    def values(self) -> dict[str, Array]:
        """Every value of one batch of three rows, as the file is written."""
        graph = Graph(self.run.run / self.file)
        inputs = self.scene.encoder.collate(self.scene.features[:3])
        values = graph.run(inputs, [name for name in graph.makers])
        return inputs | {name: onnx.numpy_helper.to_array(one) for name, one in graph.stored.items()} | values

    @cached_property
    def batches(self) -> list[Inputs]:
        """Rows that verify does not use, in batches of many sizes and lengths."""
        encoder = self.scene.encoder
        features = unseen(self.scene)
        made, at = [], 0
        for size in BATCHES * 2:
            rows = [features[(at + one) % len(features)] for one in range(size)]
            at += size
            made.append(encoder.collate(rows))
        if encoder.facts["kind"] == "text":
            made += [encoder.collate(features[length : length + 2], length) for length in range(2, 65)]
        return made

    @cached_property
    def expected(self) -> dict[bool, list[Array]]:
        """The file's own answers, fused and as written."""
        return {fused: answers(self.model, self.batches, fused=fused) for fused in (True, False)}

    @cached_property
    def spread(self) -> float:
        """The output's range."""
        return agreement.output_range(np.concatenate(self.expected[False]))

    @cached_property
    def noise(self) -> float:
        """What a difference must exceed to show."""
        if self.file == INT8:
            return VISIBLE * self.spread
        single, exact = (
            [run(one)[self.scene.graph.outputs[0].name] for one in self.batches]
            for run in (self.scene.torch, self.scene.double)
        )
        return max(largest(single, exact), largest(single, self.expected[False]), VISIBLE * self.spread)

    @cached_property
    def unit(self) -> float:
        """What a difference is told in: the noise floor of float32, the typical drift of int8."""
        if self.file == FP32:
            return self.noise
        exact = answers(onnx.load(self.run.run / FP32), self.batches, fused=True)
        return agreement.drift(np.concatenate(exact), np.concatenate(self.expected[True]))

    def drawn(self, seed: int, number: int) -> tuple[onnx.ModelProto, Fate]:
        """A mutant, and what it is."""
        model, kind, what = mutant(self.model, self.values, np.random.default_rng([seed, number]))
        return model, Fate(number=number, kind=kind, what=what, fate="not loaded")

    def fate(self, model: onnx.ModelProto, one: Fate, *, all_checks: bool = False) -> Fate:
        """See whether a mutant shows, and put it before verify if it does."""
        try:
            written = largest(answers(model, self.batches, fused=False), self.expected[False])
            fused = largest(answers(model, self.batches, fused=True), self.expected[True])
        except DoesNotRunError:
            return one
        one = replace(one, size=max(written, fused) / self.unit)
        if written <= self.noise:
            one = replace(one, fate="by fusion" if fused > self.noise else "equivalent")
            return one if not all_checks else replace(one, lines=lines_of(self.judged(model, all_checks=True)))
        made = self.judged(model, all_checks=all_checks)
        return replace(one, fate="stopped" if made else "missed", lines=lines_of(made))

    def judged(self, model: onnx.ModelProto, *, all_checks: bool = False) -> list[tuple[str, str]]:
        """The check that found a breach and its line; without `all_checks`, of the first check that found any."""
        path = self.run.run / self.file
        healthy = path.read_bytes()
        path.write_bytes(model.SerializeToString(deterministic=True))
        found: list[tuple[str, str]] = []
        try:
            if self.file == INT8:
                judge_anew(self.run.run)
            repair_run(self.run.run)
            scene = self.fresh_scene()
            for name, check in self.checks():
                began = time.monotonic()
                lines = breach_lines(name, check, scene)
                self.seconds[name] += time.monotonic() - began
                self.tries[name] += 1
                self.stops[name] += bool(lines)
                found += lines
                if found and not all_checks:
                    break
        except RunError as error:
            return [("quantize", f"the judge: {error}")]
        finally:
            path.write_bytes(healthy)
        return found

    def fresh_scene(self) -> Scene:
        """A scene of the changed run; what the change cannot reach is not loaded again."""
        scene = replace(self.scene)
        for name in SHARED[self.file]:
            scene.__dict__[name] = self.scene.__dict__[name]
        return scene

    def checks(self) -> list[tuple[str, Check]]:
        """All of verify's that concern the file; first those that have stopped most mutants in a second."""
        variant = "fp32" if self.file == FP32 else "int8"
        stage = "export" if self.file == FP32 else "quantize"
        table: dict[str, Check] = {}
        for group in verify.RUN_CHECKS.values():
            for check, blamed, file in group:
                table[check.__name__] = lambda scene, check=check, blamed=blamed, file=file: tried(
                    check, scene, stage=blamed, file=file
                )
        for group in verify.VARIANT_CHECKS.values():
            for check in group:
                table[check.__name__] = lambda scene, check=check: tried(
                    check, scene, variant, scene.variants[variant], stage=stage, file=self.file
                )

        def worth(name: str) -> float:
            return (self.stops[name] + 0.5) / (self.seconds[name] + 0.01)

        return sorted(table.items(), key=lambda one: -worth(one[0]))


def lines_of(made: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The lines alone."""
    return tuple(line for _, line in made)


def breach_lines(name: str, check: Check, scene: Scene) -> list[tuple[str, str]]:
    """A line for each breach that a check finds; none, but a note on the terminal, where it ends in a traceback."""
    try:
        return [(name, one.line()) for one in check(scene) if not one.ok]
    except Exception as error:  # noqa: BLE001 - a traceback is no verdict: the mutant is missed
        print(f"{name} ends in {type(error).__name__}: {str(error)[:200]}", flush=True)
        return []


class DoesNotRunError(Exception):
    """onnxruntime does not load a file, or refuses every batch."""


def answers(model: onnx.ModelProto, batches: Sequence[Inputs], *, fused: bool) -> list[Array]:
    """Outputs of each batch; NaN for a batch that onnxruntime refuses.

    Raises:
        DoesNotRunError: it does not load the model, or refuses every batch.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    made: list[Array] = []
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise own(error) from error
    wanted = [one.name for one in session.get_inputs()]
    refused = 0
    for inputs in batches:
        try:
            made.append(np.asarray(session.run(None, {name: inputs[name] for name in wanted})[0]))
        except Exception as error:
            last = own(error)
            refused += 1
            made.append(np.full((1, 1), np.nan))
            if refused == len(made) == 8:  # it is not the size
                raise last from error
    return made


def own(error: Exception) -> Exception:
    """An error of onnxruntime's, whose classes share no base but Exception; any other stays what it is."""
    is_its_own = type(error).__module__.partition(".")[0] == "onnxruntime"
    return DoesNotRunError(str(error)) if is_its_own else error


def largest(first: Sequence[Array], second: Sequence[Array]) -> float:
    """The largest difference of two lists of logits."""
    return max(agreement.largest_difference(one, other)[0] for one, other in zip(first, second, strict=True))


def unseen(scene: Scene) -> list[Features]:
    """Fresh rows of the same generators, and texts of random letters, which hold every piece of the vocabulary."""
    rng = np.random.default_rng(1)
    if scene.trained.facts["kind"] == "image":
        arrays = [
            rng.normal(tiny.COLOURS[name], 30, (tiny.SIDE, tiny.SIDE, 3)) for name in tiny.COLOURS for _ in range(14)
        ]
        arrays += [rng.uniform(0, 255, (side, 48 - side, 3)) for side in (9, 16, 24, 31)]
        images = [Image.fromarray(one.clip(0, 255).astype(np.uint8)) for one in arrays]
        return scene.trained.encode([{"image": one} for one in images])
    words = [word for group in tiny.WORDS.values() for word in group.split()] + tiny.FILLER
    letters = [chr(at) for at in range(ord("a"), ord("z") + 1)]
    texts = [" ".join(rng.choice(words, rng.integers(2, 14))) for _ in range(60)]
    texts += [" ".join("".join(rng.choice(letters, 3)) for _ in range(rng.integers(1, 21))) for _ in range(40)]
    return scene.trained.encode([{"text": one} for one in [*texts, "[MASK] #", " ".join(words)]])


@contextlib.contextmanager
def torch_remembered() -> Iterator[None]:
    """Torch computes each batch once: its side does not change from mutant to mutant."""
    original = runs.run_torch
    known: dict[Any, dict[str, Array]] = {}

    def remembered(model: Any, graph: Any, inputs: Mapping[str, Array], *, double: bool) -> dict[str, Array]:
        key = (id(model), double, *((name, one.shape, one.tobytes()) for name, one in inputs.items()))
        if key not in known:
            known[key] = original(model, graph, dict(inputs), double=double)
        return known[key]

    holders = [
        module for name, module in sys.modules.items()
        if name.startswith("tunedeploy.") and getattr(module, "run_torch", None) is original
    ]  # fmt: skip
    for module in holders:
        module.run_torch = remembered  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in holders:
            module.run_torch = original  # type: ignore[attr-defined]


def table(trial: Trial, fates: Sequence[Fate]) -> list[str]:
    """A row for each kind of change, and one for all."""
    lines = []
    for kind in [*sorted({one.kind for one in fates}), "all"]:
        counts = Counter(one.fate for one in fates if kind in (one.kind, "all"))
        live = counts["stopped"] + counts["missed"]
        share = f"{100 * counts['stopped'] / live:.1f} %" if live else ""
        cells = [trial.name, kind.replace("_", " "), live, *(counts[one] for one in FATES), share]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def mutate(trial: Trial, *, count: int, seed: int) -> list[Fate]:
    """Mutants, no two alike, until so many are live."""
    breaches = trial.judged(trial.model, all_checks=True)
    assert not breaches, f"{trial.name}: the healthy run is stopped: {breaches}"
    fates: list[Fate] = []
    known: set[tuple[str, str]] = set()
    live, number = 0, 0
    while live < count:
        model, one = trial.drawn(seed, number)
        number += 1
        if (one.kind, one.what) in known:
            continue
        known.add((one.kind, one.what))
        fates.append(trial.fate(model, one))
        live += fates[-1].fate in ("stopped", "missed")
    return fates


def main() -> None:
    """Try the files named, or all four."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", action="append", choices=FILES, metavar="NAME", help=", ".join(FILES))
    parser.add_argument("--count", type=int, default=500, help="of live mutants of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="try this mutant alone, by every check")
    parser.add_argument("--least", type=float, default=99.0, help="percent of the live ones to be stopped")
    arguments = parser.parse_args()
    short = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        finished = cache(lambda task: finish(folder, task))
        for name in arguments.file or FILES:
            task, file = FILES[name]
            run = finished(task).copy(folder / name)
            run.rundir.forget("bundle")  # whose manifest would tell the hashes and scores of the healthy file
            trial = Trial(name=name, run=run, file=file)
            with (
                torch_remembered(),
                contextlib.redirect_stderr(io.StringIO()) if arguments.only else contextlib.nullcontext(),
            ):
                if arguments.only is not None:
                    show(trial, trial.fate(*trial.drawn(arguments.seed, arguments.only), all_checks=True))
                    continue
                short += [name] if report(trial, arguments) < arguments.least else []
    sys.exit(1 if short else 0)


def finish(folder: Path, task: str) -> Finished:
    """The finished run of a task."""
    (folder / task).mkdir()
    with contextlib.redirect_stderr(io.StringIO()):
        return build(tiny.Tiny(folder), folder / task, task)


def report(trial: Trial, arguments: argparse.Namespace) -> float:
    """Try a file's mutants and print what became of them; returns the percentage that was stopped."""
    began = time.monotonic()
    fates = mutate(trial, count=arguments.count, seed=arguments.seed)
    took = time.monotonic() - began
    print(f"\n| file | change | live | {' | '.join(FATES)} | share |\n|{'---|' * (len(FATES) + 4)}")
    print("\n".join(table(trial, fates)))
    unit = "noise floors" if trial.file == FP32 else "drifts"
    told = f"noise {trial.noise:.2g}, output range {trial.spread:.3g}, a unit {trial.unit:.2g}"
    print(f"\n{trial.name}: {len(fates)} mutants in {took:.0f} s; {told}")
    print("stopped by: " + ", ".join(f"{name} {count}" for name, count in trial.stops.most_common() if count))
    for one in fates:
        if one.fate == "missed":
            print(f"missed {one.number}: {one.kind.replace('_', ' ')}: {one.what}: {one.size:.3g} {unit}")
    sys.stdout.flush()
    counts = Counter(one.fate for one in fates)
    return 100 * counts["stopped"] / max(counts["stopped"] + counts["missed"], 1)


def show(trial: Trial, one: Fate) -> None:
    """One mutant at length."""
    print(f"{trial.name} {one.number}: {one.kind.replace('_', ' ')}: {one.what}: {one.fate}, {one.size:.3g} units")
    print("\n".join(one.lines))


if __name__ == "__main__":
    main()
