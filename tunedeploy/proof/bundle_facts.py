"""What a bundle says of itself against what it speaks of: its files, its tokenizer, its recipe and its goldens.

Other programs read `config.json`, `tokenizer_config.json`, the manifest and the metadata of the .onnx files, so a wrong
fact there is a wrong answer somewhere else. Nothing here needs torch; without onnx, fewer facts are looked at.
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
    """Facts that differ from what they speak of, by the checks asked for."""
    made: list[Comparison] = []
    if "preprocessing" in checks:
        made.append(compared(of("config.json"), "config-facts", lambda: config_differs(bundle)))
        made.append(compared(of("tokenizer_config.json"), "tokenizer-facts", lambda: tokenizer_differs(bundle)))
    if "parity" in checks:
        made.append(compared(of(MANIFEST), "recipe-facts", lambda: recipe_differs(bundle.manifest)))
        made.append(compared(of("parity"), "onnx-test-sets", lambda: test_sets_differ(bundle, arrays)))
        for name, variant in bundle.manifest["variants"].items():
            for graph, file in files_of(variant).items():
                differ = partial(metadata_differs, bundle, name, graph)
                made.append(compared(of(file, name), "metadata", differ))
    if "metric" in checks:
        made.append(compared(of(MANIFEST), "scores", lambda: scores_differ(bundle.manifest)))
    return made


def of(file: str, variant: str = "") -> Ledger:
    """The ledger of a bundle's file."""
    return Ledger(stage="bundle", file=file, variant=variant)


class Figures(TypedDict):
    """How good a variant is, as its entry in the manifest says."""

    value: float
    drop: float


class EvaluationRows(TypedDict):
    """How many rows the figures are of."""

    eval: int


class Scored(TypedDict):
    """The manifest, as far as its figures are compared."""

    value: float
    rows: EvaluationRows
    variants: dict[str, Figures]


def compared(ledger: Ledger, id: str, differ: Callable[[], Sequence[str]]) -> Comparison:
    """A comparison of facts. The names of those that differ are its place; a file that cannot be read differs too.

    Any other error is ours and keeps its traceback: what a file may hold is checked where it is read.
    """
    try:
        odd = differ()
    except (RunError, ModelError) as error:
        odd = [error.lines[0]]
    return ledger.at_most(id, len(odd), 0, where=", ".join(odd[:4]))


def differing(pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Names whose two values differ."""
    return [name for name, (first, second) in pairs.items() if first != second]


def variants_described(bundle: "Bundle") -> list[Comparison]:
    """Bytes and SHA-256 of each variant, which a downloader reads, are those of its file."""
    odd = []
    for name, variant in bundle.manifest["variants"].items():
        size = sum(size_of_file(inside(bundle.path, file)) for file in files_of(variant).values())
        digest = sha256(inside(bundle.path, variant["file"]))
        odd += [name] * ((size, digest) != (variant.get("bytes"), variant.get("sha256")))
    return [compared(of(MANIFEST), "variant-files", lambda: odd)]


def metadata_differs(bundle: "Bundle", name: str, graph: str) -> list[str]:
    """What a file's metadata says otherwise than the manifest and the files; labels and preprocessing see `Bundle`."""
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
    """A fact of a file's metadata: JSON, or the text itself where it is none."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def recipe_differs(manifest: Mapping[str, Any]) -> list[str]:
    """What the manifest says twice: at its top, and in the recipe it holds, whose id is a hash of the recipe."""
    recipe = manifest["recipe"]
    asked = {name: part for name, part in recipe.items() if name not in ("export", "id")}
    expected = key_of(without_folders(asked))
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
    """Figures that cannot be together true: a drop that is no difference, an accuracy that no count of rows gives.

    Raises:
        RunError: a figure is missing, or is no number.
    """
    typed.check(manifest, Scored)
    rows, variants = manifest["rows"]["eval"], manifest["variants"]
    if rows < 1:
        return ["rows.eval"]
    values = {"value": manifest["value"]} | {name: one["value"] for name, one in variants.items()}
    lower = manifest.get("metric_better") == "lower"
    odd = [name for name, value in values.items() if not can_be_a_score(value, manifest, rows)]
    for name, one in variants.items():
        lost = (values[name] - values.get(FP32, 0.0)) * (1 if lower else -1)
        odd += [f"{name}: drop"] * (abs(lost - one["drop"]) > 2e-4)
    # One row at a near-tie may fall to the other side when another program adds; in macro F1 it counts for its class.
    whole = 100 if manifest.get("metric_unit", "%") == "%" else 2
    room = whole / rows * (1 if manifest["metric"] == "accuracy" else max(len(manifest["labels"]), 1)) + 1e-3
    return odd + ["value and fp32"] * (FP32 in values and abs(values["value"] - values[FP32]) > room)


def can_be_a_score(value: float, manifest: Mapping[str, Any], rows: int) -> bool:
    """Whether a figure is a percentage where it should be, and of an accuracy, whether some count of rows gives it."""
    if manifest.get("metric_unit", "%") == "%" and not 0 <= value <= 100:
        return False
    counted, metric = value * rows / 100, manifest["metric"]
    return metric != "accuracy" or abs(counted - round(counted)) <= 1e-6 * rows  # values have four digits


def config_differs(bundle: "Bundle") -> list[str]:
    """Keys of config.json that are not those of the file and of the preprocessing.

    Raises:
        RunError: it cannot be read.
    """
    config, facts = typed.read(inside(bundle.path, "config.json"), typed.OBJECT), bundle.encoder.facts
    odd = []
    if "pad_id" in facts:  # of texts
        pad, entries = config.get("pad_token_id"), config.get("vocab_size")
        odd += ["pad_token_id"] * (isinstance(pad, int) and pad != facts["pad_id"])
        encoder: Any = bundle.encoder
        largest = max(encoder.tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        odd += ["vocab_size"] * (isinstance(entries, int) and entries <= largest)
    return list(dict.fromkeys([*odd, *graph_differs(bundle, config)]))


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
    sizes = {size for one in model.graph.initializer for size in one.dims}
    firsts = {one.dims[0] for one in model.graph.initializer if len(one.dims) > 1}
    odd = []
    for key, known in (("vocab_size", firsts), ("hidden_size", sizes)):
        odd += [key] * (isinstance(config.get(key), int) and config[key] not in known)
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), None)
    odd += differing({
        "opset (manifest.json)": (bundle.manifest.get("opset"), opset),
        "ir (manifest.json)": (bundle.manifest.get("ir"), model.ir_version),
    })  # fmt: skip
    with well_formed(bundle.session(FP32).path):  # a note may hold bytes that are not UTF-8
        noted = architectures(model)
    return odd + ["model_type"] * contradicts(config.get("model_type"), noted)


def architectures(model: Any) -> set[str]:
    """The folders of transformers whose classes the exporter noted at the nodes: {"bert"}; none for other libraries."""
    notes = {
        one.value for node in model.graph.node for one in node.metadata_props if one.key.endswith("class_hierarchy")
    }
    parts = [one.split(".") for note in notes for one in note.replace("'", ".").split("transformers.models.")[1:]]
    return {one[0] for one in parts if one[0] != "deprecated"}


def contradicts(model_type: Any, folders: set[str]) -> bool:
    """Whether a model type is that of none of these folders; a folder may serve types with longer names."""
    if not isinstance(model_type, str) or not folders:
        return False
    ours, theirs = _letters(model_type), {_letters(one) for one in folders}
    return not any(ours.startswith(one) or one.startswith(ours) for one in theirs)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def tokenizer_differs(bundle: "Bundle") -> list[str]:
    """Keys of tokenizer_config.json that tokenizer.json contradicts; images have neither.

    Raises:
        RunError: one of them cannot be read, or the latter is no tokenizer.
    """
    names = ("tokenizer_config.json", "tokenizer.json")
    facts = bundle.encoder.facts  # which opens the tokenizer
    if "pad_id" not in facts or not all((bundle.path / name).is_file() for name in names):
        return []
    config, tokenizer = (typed.read(inside(bundle.path, name), typed.OBJECT) for name in names)
    return contradictions(config, tokenizer, facts)
