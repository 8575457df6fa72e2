"""A bundle's statements about itself against what they describe: its files, tokenizer, recipe and goldens.

Other programs read `config.json`, `tokenizer_config.json`, the manifest and the metadata of the .onnx files, so a wrong
fact there is a wrong answer somewhere else. Nothing here needs torch; without onnx, fewer facts are compared.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from tunedeploy.bundling.tokenizer_facts import contradictions
from tunedeploy.device import typed
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.encoders import Array
from tunedeploy.device.external_data import data_digest, size_of_file
from tunedeploy.device.files import sha256
from tunedeploy.device.inside import inside
from tunedeploy.device.manifest import MANIFEST, files_of
from tunedeploy.errors import ModelError, RunError
from tunedeploy.proof.onnx_test_sets import test_sets_differ
from tunedeploy.run.folder import key_of, without_folders

if TYPE_CHECKING:
    from tunedeploy.proof.bundle import Bundle

FP32 = "fp32"


def facts_kept(bundle: "Bundle", arrays: Mapping[str, Array], checks: Sequence[str]) -> list[Comparison]:
    """Facts that contradict what they describe, by the checks asked for."""
    comparisons: list[Comparison] = []
    if "preprocessing" in checks:
        comparisons.append(compared(of("config.json"), "config-facts", lambda: config_differs(bundle)))
        comparisons.append(compared(of("tokenizer_config.json"), "tokenizer-facts", lambda: tokenizer_differs(bundle)))
    if "parity" in checks:
        comparisons.append(compared(of(MANIFEST), "recipe-facts", lambda: recipe_differs(bundle.manifest)))
        comparisons.append(compared(of("parity"), "onnx-test-sets", lambda: test_sets_differ(bundle, arrays)))
        for name, variant in bundle.manifest["variants"].items():
            for graph, file in files_of(variant).items():
                differ = partial(metadata_differs, bundle, name, graph)
                comparisons.append(compared(of(file, name), "metadata", differ))
    if "metric" in checks:
        comparisons.append(compared(of(MANIFEST), "scores", lambda: scores_differ(bundle.manifest)))
    return comparisons


def of(file: str, variant: str = "") -> Ledger:
    """The ledger of a bundle's file."""
    return Ledger(stage="bundle", file=file, variant=variant)


class Figures(TypedDict):
    """How good a variant is, as its entry in the manifest says."""

    value: float
    drop: float


class EvaluationRows(TypedDict):
    """How many rows the figures were measured on."""

    eval: int


class Scored(TypedDict):
    """The manifest, as far as its figures are compared."""

    value: float
    rows: EvaluationRows
    variants: dict[str, Figures]


def compared(ledger: Ledger, id: str, differ: Callable[[], Sequence[str]]) -> Comparison:
    """Compare facts; `where` names those that differ. A file that cannot be read counts as one that differs.

    Any other error is ours and keeps its traceback: what a file may hold is checked where it is read.
    """
    try:
        mismatches = differ()
    except (RunError, ModelError) as error:
        mismatches = [error.lines[0]]
    return ledger.at_most(id, len(mismatches), 0, where=", ".join(mismatches[:4]))


def differing(pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Names whose two values differ."""
    return [name for name, (first, second) in pairs.items() if first != second]


def variants_described(bundle: "Bundle") -> list[Comparison]:
    """Bytes and SHA-256 of each variant, which a downloader reads, are those of its file."""
    mismatches = []
    for name, variant in bundle.manifest["variants"].items():
        size = sum(size_of_file(inside(bundle.path, file)) for file in files_of(variant).values())
        digest = sha256(inside(bundle.path, variant["file"]))
        mismatches += [name] * ((size, digest) != (variant.get("bytes"), variant.get("sha256")))
    return [compared(of(MANIFEST), "variant-files", lambda: mismatches)]


def metadata_differs(bundle: "Bundle", name: str, graph: str) -> list[str]:
    """Keys of a file's metadata that contradict manifest or files; `Bundle` compares labels and preprocessing."""
    manifest, session = bundle.manifest, bundle.sessions(name).of_graph[graph]
    metadata = session.metadata
    setting = manifest["variants"][name].get("setting")
    if isinstance(setting, Mapping) and isinstance(setting.get("graphs"), Mapping):
        setting = setting["graphs"].get(graph)
    pairs: dict[str, tuple[Any, Any]] = {
        "variant": (metadata.get("tunedeploy.variant"), name),
        "task": (metadata.get("tunedeploy.task"), manifest["task"]),
        "lineage": (parsed(metadata.get("tunedeploy.lineage")), manifest.get("lineage")),
        "quantization": (parsed(metadata.get("tunedeploy.quantization")), setting),
        "data_sha256": (metadata.get("tunedeploy.data_sha256"), data_digest(session.path)),
    }
    if name != FP32 and FP32 in manifest["variants"]:
        pairs["made_from"] = (metadata.get("tunedeploy.made_from"), sha256(bundle.sessions(FP32).of_graph[graph].path))
    return differing(pairs)


def parsed(text: str | None) -> Any:
    """A fact of a file's metadata: parsed JSON, or the text itself where it is not JSON."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def recipe_differs(manifest: Mapping[str, Any]) -> list[str]:
    """Keys whose value at the manifest's top level is not that of its recipe, whose id is a hash of the recipe."""
    recipe = manifest["recipe"]
    hashed_sections = {name: part for name, part in recipe.items() if name not in ("export", "id")}
    expected = key_of(without_folders(hashed_sections))
    return differing({
        "task": (manifest["task"], recipe.get("task")),
        "method": (manifest.get("method"), _at(recipe, "tune", "method")),
        "model": (manifest.get("model"), _at(recipe, "model", "name")),
        "target": (manifest.get("target"), _at(recipe, "export", "target")),
        "seed": (manifest.get("seed"), _at(recipe, "train", "seed")),
        "recipe.id": (recipe.get("id"), expected),
        "lineage.recipe": (_at(manifest, "lineage", "recipe"), expected),
    })  # fmt: skip


def _at(value: Mapping[str, Any], *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None  # type: ignore[assignment]
    return value


def scores_differ(manifest: Mapping[str, Any]) -> list[str]:
    """Figures that cannot all be true: a drop that is not the difference, an accuracy that no count of rows gives.

    Raises:
        RunError: a figure is missing or is not a number.
    """
    typed.check(manifest, Scored)
    rows, variants = manifest["rows"]["eval"], manifest["variants"]
    if rows < 1:
        return ["rows.eval"]
    values = {"value": manifest["value"]} | {name: variant["value"] for name, variant in variants.items()}
    lower = manifest.get("metric_better") == "lower"
    impossible = [name for name, value in values.items() if not can_be_a_score(value, manifest, rows)]
    for name, variant in variants.items():
        lost = (values[name] - values.get(FP32, 0.0)) * (1 if lower else -1)
        impossible += [f"{name}: drop"] * (abs(lost - variant["drop"]) > 2e-4)
    # One row at a near-tie may flip when another program adds in another order; in macro F1 it counts for its class.
    # A token at a near-tie changes all of the text behind it, and BLEU's parts are not those of single rows.
    metric_range = 100 if manifest.get("metric_unit", "%") == "%" else 2
    shares = {"accuracy": 1, "bleu": 5}.get(manifest["metric"], max(len(manifest["labels"]), 1))
    room = metric_range / rows * shares + 1e-3
    return impossible + ["value and fp32"] * (FP32 in values and abs(values["value"] - values[FP32]) > room)


def can_be_a_score(value: float, manifest: Mapping[str, Any], rows: int) -> bool:
    """Whether a figure is a percentage where it should be; an accuracy must also be that of some count of rows."""
    if manifest.get("metric_unit", "%") == "%" and not 0 <= value <= 100:
        return False
    counted, metric = value * rows / 100, manifest["metric"]
    return metric != "accuracy" or abs(counted - round(counted)) <= 1e-6 * rows  # values have four digits


def config_differs(bundle: "Bundle") -> list[str]:
    """Keys of config.json that contradict the file or the preprocessing.

    Raises:
        RunError: config.json cannot be read.
    """
    config, facts = typed.read(inside(bundle.path, "config.json"), typed.OBJECT), bundle.encoder.facts
    mismatches = []
    if "pad_id" in facts:  # of texts
        pad, entries = config.get("pad_token_id"), config.get("vocab_size")
        mismatches += ["pad_token_id"] * (isinstance(pad, int) and pad != facts["pad_id"])
        encoder: Any = bundle.encoder
        largest = max(encoder.tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        mismatches += ["vocab_size"] * (isinstance(entries, int) and entries <= largest)
    return list(dict.fromkeys([*mismatches, *graph_differs(bundle, config)]))


def graph_differs(bundle: "Bundle", config: Mapping[str, Any]) -> list[str]:
    """Keys of config.json that the float32 file's tensors and nodes contradict; none where onnx is not installed."""
    try:
        import onnx

        from tunedeploy.graphs.onnx_graph import well_formed
    except ModuleNotFoundError:
        return []
    if FP32 not in bundle.manifest["variants"]:
        return []
    model = onnx.load(bundle.session(FP32).path, load_external_data=False)  # loaded once, so it is an ONNX file
    sizes = {size for tensor in model.graph.initializer for size in tensor.dims}
    firsts = {tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) > 1}
    mismatches = []
    for key, known in (("vocab_size", firsts), ("hidden_size", sizes)):
        mismatches += [key] * (isinstance(config.get(key), int) and config[key] not in known)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    mismatches += differing({
        "opset (manifest.json)": (bundle.manifest.get("opset"), opset),
        "ir (manifest.json)": (bundle.manifest.get("ir"), model.ir_version),
    })  # fmt: skip
    with well_formed(bundle.session(FP32).path):  # a note may hold bytes that are not UTF-8
        noted = architectures(model)
    return mismatches + ["model_type"] * contradicts(config.get("model_type"), noted)


def architectures(model: Any) -> set[str]:
    """The folders of transformers whose classes the exporter noted at the nodes: {"bert"}; none for other libraries."""
    notes = {
        prop.value for node in model.graph.node for prop in node.metadata_props if prop.key.endswith("class_hierarchy")
    }
    paths = [text.split(".") for note in notes for text in note.replace("'", ".").split("transformers.models.")[1:]]
    return {path[0] for path in paths if path[0] != "deprecated"}


def contradicts(model_type: Any, folders: set[str]) -> bool:
    """Whether a model type is that of none of these folders; a folder may serve types with longer names."""
    if not isinstance(model_type, str) or not folders:
        return False
    ours, theirs = _letters(model_type), {_letters(folder) for folder in folders}
    return not any(ours.startswith(folder) or folder.startswith(ours) for folder in theirs)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def tokenizer_differs(bundle: "Bundle") -> list[str]:
    """Keys of tokenizer_config.json that tokenizer.json contradicts; images have neither.

    Raises:
        RunError: one of them cannot be read, or tokenizer.json is not a tokenizer.
    """
    names = ("tokenizer_config.json", "tokenizer.json")
    facts = bundle.encoder.facts  # which opens the tokenizer
    if "pad_id" not in facts or not all((bundle.path / name).is_file() for name in names):
        return []
    config, tokenizer = (typed.read(inside(bundle.path, name), typed.OBJECT) for name in names)
    return contradictions(config, tokenizer, facts)
