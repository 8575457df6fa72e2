"""Tiny real models and data sets: built from a config and a seed, trained in a second, told apart by colour or word."""

import csv
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from tunedeploy.data.recipe_data import data_of
from tunedeploy.models import start
from tunedeploy.models.classifier import Assembly
from tunedeploy.recipe import read as recipe
from tunedeploy.recipe.read import Recipe
from tunedeploy.run.atomic import write_json
from tunedeploy.run.folder import RunDir
from tunedeploy.stages.train import job_of
from tunedeploy.training.job import Job
from tunedeploy.training.machine import accelerator_of

SIDE = 16  # pixels of the images
WORDS = {
    "food": "soup bread cheese apple salad pasta rice butter",
    "sport": "goal match tennis race coach medal swim score",
    "weather": "rain storm cloud sunny wind snow frost thunder",
}
FILLER = ["the", "a", "was", "very", "and", "today", "we", "saw", "it", "with", "some", "more", "then", "again"]
COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 70), "red": (210, 50, 40)}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True, kw_only=True)
class TinyTask:
    """What the contract test and the finished runs of a task start from; TINY of its file in tests/tasks/.

    `data` and `model` make them in an empty folder and return their path. `row` is in no data set, and `answer` has the
    keys of what `predict` gives for it. `finished` are sections of a recipe that learns, on `finished_data`. `refused`
    has the methods by which this task cannot be trained, with what planning says of each.
    """

    data: Callable[[Path], Path]
    model: Callable[[Path], Path]
    row: Mapping[str, Any]
    answer: frozenset[str]
    finished: Mapping[str, Any]
    finished_data: Callable[[Path], Path]
    labels: int = 3
    refused: Mapping[str, str] = field(default_factory=dict)


def tiny_task(name: str) -> TinyTask:
    """The tiny task of a task's test file."""
    made: TinyTask = importlib.import_module(f"tests.tasks.test_{name.replace('-', '_')}").TINY
    return made


def texts(path: Path, *, rows: int = 60, seed: int = 0, shares: tuple[float, ...] | None = None) -> Path:
    """A csv file of short sentences whose words tell the class."""
    rng = np.random.default_rng(seed)
    labels = list(WORDS)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for at in range(rows):
            label = labels[at % 3] if shares is None else str(rng.choice(labels, p=shares))
            own = rng.choice(WORDS[label].split(), 3)
            words = [*own, *rng.choice(FILLER, rng.integers(1, 9))]
            writer.writerow([" ".join(rng.permutation(words)), label])
    return path


def images(folder: Path, *, each: int = 14, seed: int = 0) -> Path:
    """Class folders of noisy images in one colour a class."""
    rng = np.random.default_rng(seed)
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True)
        for at in range(each):
            pixels = rng.normal(colour, 30, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{at:02d}.png")
    return folder


def bert(folder: Path) -> Path:
    """A BERT of two layers, 32 wide, with a WordPiece tokenizer of the words above."""
    words = sorted({word for group in WORDS.values() for word in group.split()} | set(FILLER))
    letters = [chr(at) for at in range(ord("a"), ord("z") + 1)]
    vocabulary = [*SPECIAL, *words, *letters, *(f"##{one}" for one in letters)]
    ids = {word: at for at, word in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(ids), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.15,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def resnet(folder: Path) -> Path:
    """A ResNet of two stages with batch normalisation, for 32 pixels."""
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(folder)
    return _sized(folder)


def vit(folder: Path) -> Path:
    """A vision transformer of two layers: images without batch normalisation and without dropout."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.1,
    )  # fmt: skip
    ViTModel(config).save_pretrained(folder)
    return _sized(folder)


def _sized(folder: Path) -> Path:
    write_json(
        folder / "preprocessor_config.json",
        {"size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    )
    return folder


class Tiny:
    """The models and data sets above, each made once, and recipes on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Path:
        """The path of `texts`, `images`, `bert`, `resnet` or `vit`."""
        makers = {"texts": texts, "images": images, "bert": bert, "resnet": resnet, "vit": vit}
        path = self.folder / (f"{name}.csv" if name == "texts" else name)
        return path if path.exists() else makers[name](path)

    def of(self, task: str, part: str) -> Path:
        """The `data` or the `model` of a task."""
        folder = self.folder / f"{task}-{part}"
        note = folder / "made"
        if not note.is_file():
            folder.mkdir()
            path = getattr(tiny_task(task), part)(folder)
            note.write_text(str(path), encoding="utf-8")
        return Path(note.read_text(encoding="utf-8"))

    def write(self, path: Path, task: str, *, model: str | None = None, **sections: dict[str, Any]) -> Path:
        """Write a recipe; sections win over float32, one epoch and the task's own data."""
        content = {
            "task": task,
            "model": model or str(self.of(task, "model")),
            "data": {"train": str(self.of(task, "data"))} | sections.pop("data", {}),
            "train": {"epochs": 1, "batch_size": 8, "precision": "fp32", "threads": 1} | sections.pop("train", {}),
            **sections,
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def recipe(self, path: Path, task: str, *, model: str | None = None, **sections: dict[str, Any]) -> Recipe:
        """The same, read."""
        return recipe.read(self.write(path, task, model=model, **sections))


def job(made: Recipe, folder: Path) -> Job:
    """A recipe's job in float32 with the dropout before the head off, since a split of a step draws other masks."""
    accelerator = accelerator_of("fp32")
    data = data_of(made)
    assembly = start.attached(made, data)
    assembly.model.dropout.p = 0.0
    return job_of(made, RunDir(folder), assembly, data, accelerator)


def base_of(made: Recipe) -> Assembly:
    """The model before any training."""
    return start.base(made, data_of(made))


def attached_of(made: Recipe) -> Assembly:
    """The model with the recipe's method attached."""
    return start.attached(made, data_of(made))
