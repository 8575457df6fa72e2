"""Text classification: one label for a text, or for a pair of texts."""

# Imports no torch at the top: the same file serves `predict` on a device that has none.

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tunedeploy.data.columns import TEXT_ROWS
from tunedeploy.device.encoders import Row
from tunedeploy.device.encoders.text import contradictions, facts_from, values
from tunedeploy.device.encoders.text import opened as device_encoder
from tunedeploy.device.files import read_json
from tunedeploy.device.signature import Graph
from tunedeploy.recipe.read import Section
from tunedeploy.run.atomic import write_json
from tunedeploy.tasks._classification import classes_of, decision, logits, loss, metric_name, report, targets

if TYPE_CHECKING:
    from tunedeploy.data.read import Data
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.recipe.read import Recipe

__all__ = [
    "classes_of", "contradictions", "decision", "device_encoder", "loss", "metric_name", "report", "targets",
]  # fmt: skip

HUB_TASK = "text-classification"  # optimum's and the hub's name
SYNONYMS = (  # names of the same task elsewhere, for a recipe that writes one of them
    "sentiment-analysis", "sequence-classification", "sentence-classification", "sentence-pair-classification",
    "zero-shot-classification", "natural-language-inference", "nli", "intent-classification", "topic-classification",
)  # fmt: skip
COLUMNS = TEXT_ROWS
BARE_INPUT = "text"  # the column that `predict INPUT` fills
# People disagree on the class of a text more often than on an image's, so certainty is not asked for: banking77 gains
# 0.4 points. It makes probabilities milder; 0 gives them back.
METHOD_DEFAULTS = {
    "full": {"train.label_smoothing": 0.1},
    "lora": {"train.label_smoothing": 0.1},
}


class Options(Section):
    """Keys of `data`: which columns hold what, and how long a text may be."""

    text: str | None = None  # found by its usual names when left out
    text_pair: str | None = None  # the second text of a pair; single texts are the rule
    label: str | None = None  # found by its usual names when left out
    max_length: int | None = Field(default=None, ge=8)  # tokens; what the checkpoint was made for, at most 512


class TuneOptions(Section):
    """Keys of `tune`: how token states become one vector."""

    # The checkpoint's own (1_Pooling); mean where it has none, since an untrained CLS says nothing.
    pooling: Literal["auto", "mean", "cls", "max", "last", "pooler"] = "auto"


def assemble(recipe: "Recipe", data: "Data") -> "Assembly":
    """The model before training, and its encoder; see models.classifier.Assembly."""
    from tunedeploy.errors import RecipeError
    from tunedeploy.models import sources, text
    from tunedeploy.models.classifier import Assembly

    if recipe.train.augment != "none":
        raise RecipeError(f"train.augment: {recipe.train.augment!r} is for images; text-classification takes 'none'")
    source = sources.locate(recipe.model.name, recipe.model.weights)
    if source.scheme != "hf":
        raise RecipeError(f"model: {recipe.model.name!r} has images for input; text-classification needs a text model")
    options: Any = recipe.data
    tune: Any = recipe.tune
    pooling = tune.pooling if tune.pooling != "auto" else text.checkpoint_pooling(source) or "mean"
    tokenizer = text.open_tokenizer(source)
    model, fresh = text.build(source, labels=len(data.labels), pooling=pooling)
    limit = text.longest(source, tokenizer)
    if options.max_length and options.max_length > text.positions(model.trunk.config):
        raise RecipeError(
            f"data.max_length: {options.max_length} is over the model's {text.positions(model.trunk.config)}"
        )
    facts = text.text_facts(model, tokenizer, options.max_length or limit)
    return Assembly(
        model=model,
        encoder=text.TransformersEncoder(tokenizer, facts),
        graph=graph({"inputs": facts.inputs}, data.labels),
        decision=decision(data.labels),
        fresh=fresh,
        facts={"pooling": pooling, "max_length": facts.max_length},
    )


def save(assembly: "Assembly", labels: tuple[str, ...], folder: Path) -> None:
    """Write a plain model folder: trunk, tokenizer, `1_Pooling`, head and labels."""
    from safetensors.torch import save_file

    from tunedeploy.models import loading, text

    trunk: Any = assembly.model.trunk
    trunk.config.id2label = dict(enumerate(labels))
    trunk.config.label2id = {label: at for at, label in enumerate(labels)}
    encoder: Any = assembly.encoder
    with loading.quiet():
        trunk.save_pretrained(folder)
        text.save_tokenizer(encoder.tokenizer, folder, facts_from(encoder.facts))
    save_file(
        {name: tensor.contiguous() for name, tensor in assembly.model.head.state_dict().items()},
        folder / "head.safetensors",
    )
    write_json(
        folder / "1_Pooling" / "config.json",
        _pooling_config(str(assembly.facts["pooling"]), assembly.model.head.in_features),
    )
    write_json(
        folder / "tunedeploy.json",
        {"task": HUB_TASK, "labels": list(labels), **assembly.facts, "encoder": encoder.facts},
    )


def load(folder: Path, *, attention: str = "sdpa") -> "Assembly":
    """Read back what `save` wrote."""
    from safetensors.torch import load_file

    from tunedeploy.models import text
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.models.sources import Source

    facts = json.loads((folder / "tunedeploy.json").read_text(encoding="utf-8"))
    source = Source(scheme="hf", name=str(folder))
    model, _ = text.build(source, labels=len(facts["labels"]), pooling=facts["pooling"], attention=attention)
    model.head.load_state_dict(load_file(folder / "head.safetensors"))
    encoder = text.TransformersEncoder(text.open_tokenizer(source), facts_from(facts["encoder"]))
    kept = {key: facts[key] for key in ("pooling", "max_length")}
    return Assembly(
        model=model, encoder=encoder, graph=graph(facts["encoder"], facts["labels"]),
        decision=decision(facts["labels"]), fresh=frozenset(), facts=kept,
    )  # fmt: skip


def rewritten(folder: Path, trained: Any) -> list[str]:
    """Parts of `tokenizer.json` that are not those of training: rows show only the words that they hold."""
    there = read_json(folder / "tokenizer.json")
    wanted = json.loads(trained.tokenizer.backend_tokenizer.to_str())
    parts = sorted((there.keys() | wanted.keys()) - {"truncation", "padding"})
    return [f"tokenizer.json: {key}" for key in parts if there.get(key) != wanted.get(key)]


def graph(facts: Mapping[str, Any], labels: Sequence[str]) -> Graph:
    """Ids and their like in, one row of logits a text out."""
    return Graph(name="model", inputs=values(facts["inputs"]), outputs=(logits(labels),))


def edge_rows(sample: Row) -> list[Row]:
    """Rows that break careless exports: empty, one sign, overlong, other scripts, odd case and blanks."""
    texts = [
        "",
        "a",
        "A" * 3000,
        "word " * 2000,
        "ÄÖÜ naïve ĳ İstanbul",
        "日本語のテキスト 🙂",
        "  \t blanks \n",
        "MiXeD CaSe",
    ]
    if sample.get("text_pair") is None:
        return [{"text": one} for one in texts]
    long = "word " * 2000
    pairs = [*((one, "b") for one in texts), ("b", long), ("", long), (long, long)]
    return [{"text": first, "text_pair": second} for first, second in pairs]


def _pooling_config(pooling: str, width: int) -> dict[str, str | int]:
    names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
    flags = {f"pooling_mode_{theirs}": ours == pooling for ours, theirs in names.items()}
    return {"word_embedding_dimension": width, **flags, "pooling_mode": pooling}
