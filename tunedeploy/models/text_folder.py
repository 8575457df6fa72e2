"""What all tasks on texts share: the checkpoint that a recipe names, and the plain folder that a model is saved to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from tunedeploy.device.encoders.text import TextFacts
from tunedeploy.errors import RecipeError
from tunedeploy.models import loading, sources, text
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.sources import Source
from tunedeploy.models.text import TextClassifier
from tunedeploy.run.atomic import write_json

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

FILE = "tunedeploy.json"
HEAD = "head.safetensors"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a recipe starts from: its model's source, its tokenizer, and how token states become one vector."""

    source: Source
    tokenizer: PreTrainedTokenizerBase
    pooling: str

    def facts(self, model: TextClassifier, recipe: "Recipe") -> TextFacts:
        """How texts become the model's inputs.

        Raises:
            RecipeError: `data.max_length` is over what the model has positions for.
            ModelError: see models.text.text_facts.
        """
        return text.text_facts(model, self.tokenizer, longest(recipe, self.source, self.tokenizer, model))


def checkpoint(recipe: "Recipe") -> Checkpoint:
    """The checkpoint of a recipe whose task reads texts.

    Raises:
        RecipeError: a key or the model is for images.
        ModelError: the checkpoint cannot be opened.
    """
    source = source_of(recipe)
    tune: Any = recipe.tune
    pooling = tune.pooling if tune.pooling != "auto" else text.checkpoint_pooling(source) or "mean"
    return Checkpoint(source=source, tokenizer=text.open_tokenizer(source), pooling=pooling)


def source_of(recipe: "Recipe") -> Source:
    """The source of a text model that a recipe names.

    Raises:
        RecipeError: a key or the model is for images.
    """
    if recipe.train.augment != "none":
        raise RecipeError(f"train.augment: {recipe.train.augment!r} is for images; {recipe.task} takes 'none'")
    source = sources.locate(recipe.model.name, recipe.model.weights)
    if source.scheme == "new":
        raise RecipeError(f"model: {recipe.model.name!r} is for translation; {recipe.task} needs a checkpoint")
    if source.scheme != "hf":
        raise RecipeError(f"model: {recipe.model.name!r} has images for input; {recipe.task} needs a text model")
    return source


def longest(recipe: "Recipe", source: Source, tokenizer: PreTrainedTokenizerBase, model: TextClassifier) -> int:
    """How many tokens a row may have: `data.max_length`, or what the checkpoint was made for.

    Raises:
        RecipeError: `data.max_length` is over what the model has positions for.
    """
    options: Any = recipe.data
    most = text.positions(model.trunk.config)
    if options.max_length and options.max_length > most:
        raise RecipeError(f"data.max_length: {options.max_length} is over the model's {most}")
    return int(options.max_length or text.longest(source, tokenizer))


def save(assembly: Assembly, folder: Path, record: Mapping[str, Any]) -> None:
    """Write a plain model folder: trunk, tokenizer, head, `1_Pooling` if states are pooled, and FILE with a record."""
    model: Any = assembly.model
    encoder: Any = assembly.encoder
    with loading.quiet():
        model.trunk.save_pretrained(folder)
        text.save_tokenizer(encoder.tokenizer, folder, encoder.facts["max_length"])
    save_file({name: tensor.contiguous() for name, tensor in model.own_head.state_dict().items()}, folder / HEAD)
    if "pooling" in assembly.facts:
        write_json(folder / "1_Pooling" / "config.json", _pooling_config(str(assembly.facts["pooling"]), model.width))
    write_json(folder / FILE, {**record, **assembly.facts, "encoder": encoder.facts})


def record_of(folder: Path) -> Mapping[str, Any]:
    """What `save` wrote into FILE."""
    record: Mapping[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return record


def load_head(model: TextClassifier, folder: Path) -> None:
    """Put back the head that `save` wrote."""
    model.own_head.load_state_dict(load_file(folder / HEAD))


def _pooling_config(pooling: str, width: int) -> dict[str, str | int]:
    names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
    flags = {f"pooling_mode_{theirs}": ours == pooling for ours, theirs in names.items()}
    return {"word_embedding_dimension": width, **flags, "pooling_mode": pooling}
