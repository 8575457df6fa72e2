"""Quantize: convert the file to the precisions asked for, each within the accuracy budget or not at all."""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from tunedeploy import plugins, progress
from tunedeploy.contracts.precision import Precision
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.agreement import GAIN, within
from tunedeploy.device.decisions import FLIPS
from tunedeploy.device.encoders import Inputs
from tunedeploy.device.external_data import data_file, parts_of_file
from tunedeploy.device.figures import loss_text, value_text
from tunedeploy.device.files import sha256
from tunedeploy.device.manifest import GRAPH
from tunedeploy.errors import BudgetError, ModelError, RunError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.proof.judge import CALIBRATION_ROWS, Judge, calls_of, kernels
from tunedeploy.proof.torch_run import sample
from tunedeploy.quantization.cpu_kinds import WORDS, on_each_kind
from tunedeploy.quantization.workshop import workshop
from tunedeploy.run import results
from tunedeploy.run.answers import write_answers
from tunedeploy.run.atomic import scratch_folder
from tunedeploy.run.exported import float_files, parts_of
from tunedeploy.run.folder import RunDir
from tunedeploy.run.results import (
    Attempt,
    Decisions,
    Measured,
    OnCpu,
    OnCpus,
    Setting,
    Tried,
    Variant,
    VariantFiles,
    setting_of,
)

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.recipe.sections import ExportOptions

RECIPE_KEYS = ("task", "data", "export")
AFTER = ("export",)
OUTPUTS = ("quantized",)
FOLDER = "quantized"
ROOM = 0.7  # a setting that uses no more of its limits is taken at once: other rows will use more or less of them


def run(recipe: "Recipe", rundir: RunDir) -> results.Quantize:
    """Write one file for each precision under `quantized/`, the first of its candidates that holds the budget.

    Returns:
        For each precision its file, setting, metric, drop, bytes and milliseconds, and what else was tried.

    Raises:
        BudgetError: no candidate of a precision holds max_drop, max_size and max_latency; the lines have the numbers.
    """
    shutil.rmtree(rundir / FOLDER, ignore_errors=True)  # a precision that is no longer asked for leaves no file
    files = float_files(rundir)
    sources = {graph: rundir / file for graph, file in files.items()}
    parts = parts_of(recipe, rundir)
    metric = rundir.record("train").result["metric"]
    fp32, answers = Judge(recipe=recipe, parts=parts, metric=metric)(sources)
    judge = Judge(recipe=recipe, parts=parts, metric=metric, reference=fp32["metric"], fp32=answers)
    variants: dict[str, Variant] = {
        "fp32": {**placed(files), **fp32}  # type: ignore[typeddict-item]  # fp32 has at most one other key
    }
    precisions = [name for name in recipe.export.quantize if name != "fp32"]
    problems = over_budget(judge, "quantize: fp32", fp32, sources)
    if problems and precisions:  # it ships beside those that hold the limits, and report.html does not recommend it
        variants["fp32"]["problems"], problems = problems, []
    for name in precisions:
        tried, chosen = attempts(recipe, rundir, name, judge)
        if chosen["problems"]:
            problems += [line for entry in [*tried, chosen] for line in entry["problems"]]
            continue
        written = {graph: f"{FOLDER}/{file_name(name, graph)}" for graph in files}
        variants[name] = {**placed(written), **chosen, "tried": tried}
        if chosen["ms"] > fp32["ms"]:
            progress.note(f"quantize: {name} is slower than fp32 here: {chosen['ms']:.2f} ms a row, {fp32['ms']:.2f}")
    if problems:
        raise BudgetError(problems)
    return {"metric": metric, "unit": judge.unit, "variants": variants, "made_on": kernels()}


def file_name(precision: str, graph: str) -> str:
    """What the file of a graph is called in a precision."""
    return plugins.load("precisions", precision).FILE.replace(GRAPH, graph, 1)


def placed(files: Mapping[str, str]) -> VariantFiles:
    """The files of a variant, graph to file, as its record has them."""
    last = list(files.values())[-1]
    return {"file": last} if len(files) == 1 else {"file": last, "files": dict(files)}


def attempts(recipe: "Recipe", rundir: RunDir, name: str, judge: Judge) -> tuple[list[Tried], Attempt]:
    """Convert to a precision by its candidates in turn, up to the first with room.

    Returns:
        What was tried and not taken, and the chosen one: the first with room, or else the one with the most room.

    Raises:
        ModelError: the quantizer failed at every one.
    """
    precision = plugins.load("precisions", name)
    sources = {graph: rundir / file for graph, file in float_files(rundir).items()}
    targets = {graph: rundir / FOLDER / file_name(name, graph) for graph in sources}
    samples = calls_of(judge.parts, sources, sample(data_of(recipe).train, CALIBRATION_ROWS))
    tried: list[Tried] = []
    chosen: Attempt | None = None
    for setting in settings(precision, sources, recipe, samples):
        how = f"quantize: {name} ({setting['name']})"
        progress.note(how)
        with scratch_folder(rundir / FOLDER / "attempt") as folder:
            beside = {graph: folder / target.name for graph, target in targets.items()}
            try:
                for graph, source in sources.items():
                    write(name, source, beside[graph], setting_of(setting, graph), samples[graph])
                measured, answers = judge(beside)
            except (ModelError, RunError) as error:
                tried.append({"setting": setting, "problems": [f"{how}: {error.lines[0]}"]})
                continue
            attempt = attempt_of(setting, measured, on_cpus(precision, beside, judge, measured))
            attempt["problems"] += over_budget(judge, how, attempt, beside)
            tried.append(attempt)
            if not chosen or chosen["problems"] or share_used(judge, attempt) < share_used(judge, chosen):
                chosen = attempt
                for graph, path in beside.items():
                    put(path, targets[graph])
                write_answers(list(targets.values())[-1].with_suffix(".npy"), answers)  # for verify to compare with
        if chosen and share_used(judge, chosen) <= ROOM:
            break
    if not chosen:
        raise ModelError([line for entry in tried for line in entry["problems"]])
    return [entry for entry in tried if entry is not chosen], chosen


def put(path: Path, target: Path) -> None:
    """Rename a file, with that of its tensors where it has one, in the place of another."""
    parts = parts_of_file(path)
    for part in reversed(parts):  # the file itself last
        part.replace(target.with_name(part.name))
    if len(parts) == 1:
        data_file(target).unlink(missing_ok=True)


def write(name: str, source: Path, target: Path, setting: Setting, samples: Sequence[Inputs]) -> None:
    """Convert one graph's file to a precision, and write into it what it is."""
    with workshop(source) as copy:
        plugins.load("precisions", name).convert(copy, target, setting, samples)
    label(target, name, setting, source)


def settings(
    precision: Precision, sources: Mapping[str, Path], recipe: "Recipe", samples: Mapping[str, Sequence[Inputs]]
) -> Iterator[Setting]:
    """Ways to convert all graphs, in the order in which they are tried: each graph's first, its second, ..., its last.

    Those of a single graph are yielded as they come, since making one may cost a pass over the samples.
    """
    if len(sources) == 1:
        ((graph, source),) = sources.items()
        yield from precision.candidates(source, recipe.export, samples[graph])
        return
    ways = {
        graph: list(precision.candidates(source, options_for(recipe, graph, sources), samples[graph]))
        for graph, source in sources.items()
    }
    for number in range(max(map(len, ways.values()))):
        chosen = {graph: each[min(number, len(each) - 1)] for graph, each in ways.items()}
        names = dict.fromkeys(setting["name"] for setting in chosen.values())
        yield {"name": "; ".join(names), "graphs": {graph: dict(setting) for graph, setting in chosen.items()}}


def options_for(recipe: "Recipe", graph: str, sources: Mapping[str, Path]) -> "ExportOptions":
    """The recipe's `export` for one graph of several: of the nodes that it excludes, those that this graph has.

    A name that no graph has stays with the last one, so that its precision reports it.
    """
    excluded = getattr(recipe.export, "exclude", ())
    models = {name: onnx.load(path, load_external_data=False) for name, path in sources.items()}
    nodes = {name: {node.name for node in model.graph.node} for name, model in models.items()}
    others = set().union(*(nodes[name] for name in sources if name != graph))
    last = graph == list(sources)[-1]
    own_nodes = tuple(name for name in excluded if name in nodes[graph] or (last and name not in others))
    return recipe.export.model_copy(update={"exclude": own_nodes}) if excluded else recipe.export


def attempt_of(setting: Setting, measured: Measured, cpus: OnCpus) -> Attempt:
    """The record of a setting whose file could be measured; no problem is known yet."""
    return {"setting": setting, **measured, **cpus, "problems": []}


def on_cpus(precision: Precision, paths: Mapping[str, Path], judge: Judge, measured: Measured) -> OnCpus:
    """On which kinds of CPU the files were shown to hold, where its kernels differ among them."""
    if not precision.INTEGERS:
        return {}
    own: Decisions = {"drop": measured["drop"], "flips": measured["flips"], "agreement": measured["agreement"]}
    return {"cpus": on_each_kind(paths, own, judge.decisions)}


def share_used(judge: Judge, attempt: Attempt) -> float:
    """The largest share of its limits on answers that a variant uses on any kind of CPU; infinite where it breaks one.

    Near-ties that changed count here too, against what others may: on another split they fall the other way.
    """
    if attempt["problems"]:
        return math.inf
    elsewhere = [figures for figures in attempt.get("cpus", {}).values() if figures["by"] != "nothing"]
    kinds: list[Decisions | OnCpu] = [attempt, *elsewhere]
    return max(share_of(judge.allowed_drop, attempt["flips_allowed"], figures) for figures in kinds)


def share_of(allowed_drop: float, flips_allowed: int, figures: Decisions | OnCpu) -> float:
    """The largest share of the limits that `drop`, `flips` and `agreement` on one kind of CPU use."""
    drop = figures["drop"] / allowed_drop if figures["drop"] > 0 else 0.0
    changed = (1 - figures["agreement"] / 100) / FLIPS
    return float(max(drop, figures["flips"] / max(flips_allowed, 1), changed))


def over_budget(judge: Judge, how: str, measured: Measured, paths: Mapping[str, Path]) -> list[str]:
    """Which limits of the recipe and of its target a variant's files break, one line each that begins with `how`."""
    limits, allowed, unit = judge.recipe.export, judge.allowed_drop, judge.unit
    lines = []
    if not within(measured["metric"], None):
        lines.append(f"{how}: its metric is {measured['metric']}; no budget can be held to it")
    elif not within(measured["drop"], allowed):
        lost, value = loss_text(measured["drop"], unit), value_text(measured["metric"], unit)
        lines.append(f"{how}: loses {lost} ({value}), allowed {allowed:g}")
    if not within(measured["flips"], measured["flips_allowed"]):
        lines.append(
            f"{how}: changes {measured['flips']} answers that were no near-ties, allowed {measured['flips_allowed']}"
        )
    if not within(measured["gain"], GAIN):
        lines.append(f"{how}: its logits are {measured['gain']:.3g} times larger or smaller, allowed {GAIN:g}")
    if limits.max_size is not None and not within(measured["bytes"], limits.max_size * 1e6):
        lines.append(f"{how}: has {measured['bytes'] / 1e6:.2f} MB, allowed {limits.max_size:g}")
    if limits.max_latency is not None and not within(measured["ms"], limits.max_latency):
        lines.append(f"{how}: takes {measured['ms']:.2f} ms a row, allowed {limits.max_latency:g}")
    lines += over_budget_elsewhere(judge, how, measured)
    target = plugins.load("targets", limits.target)
    models = [onnx.load(path, load_external_data=False) for path in paths.values()]
    breaches = [line for model in models for line in target.breaches(model, measured["bytes"])]
    return [*lines, *(f"{how}: target {limits.target}: {line}" for line in dict.fromkeys(breaches))]


def over_budget_elsewhere(judge: Judge, how: str, measured: Measured) -> list[str]:
    """The limits on answers that a variant breaks on the kind of CPU that this one is not."""
    lines = []
    for kind, figures in measured.get("cpus", {}).items():
        where = f"{how}: on a CPU {WORDS[kind]}"
        if figures["by"] == "nothing":
            lines.append(f"{where} its products can saturate, and that cannot be simulated here")
        if figures["by"] == "simulated" and not within(figures["drop"], judge.allowed_drop):
            lost = loss_text(figures["drop"], judge.unit)
            lines.append(f"{where}, simulated, loses {lost}, allowed {judge.allowed_drop:g}")
        if figures["by"] == "simulated" and figures["flips"] > measured["flips_allowed"]:
            count = f"{figures['flips']} answers that were no near-ties"
            lines.append(f"{where}, simulated, changes {count}, allowed {measured['flips_allowed']}")
    return lines


def label(path: Path, name: str, setting: Setting, source: Path) -> None:
    """Write into a quantized file what it is and what it was made from."""
    model, before = onnx.load(path), onnx.load(source, load_external_data=False)
    onnx_files.describe(model, {prop.key.removeprefix("tunedeploy."): prop.value for prop in before.metadata_props})
    onnx_files.describe(model, {"variant": name, "quantization": setting, "made_from": sha256(source)})
    onnx_files.write(model, path)
