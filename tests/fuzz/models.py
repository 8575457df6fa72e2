"""Damaged model folders, put to plan and train: settings of other types and sizes, tokenizers, pixels, weights."""

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import ended
from tests.tiny import Tiny

TRIALS = 20
TRAINED = 0.1  # share of the trials that are trained too
GROWN = 3 * 2**20  # KiB that the process may grow by in a trial; a tiny model takes a thousandth
JSON_FILES = {
    "text-classification": (
        "config.json", "config.json", "config.json", "tokenizer.json", "tokenizer_config.json",
        "sentence_bert_config.json", "1_Pooling/config.json",
    ),
    "image-classification": ("config.json", "config.json", "preprocessor_config.json", "preprocessor_config.json"),
}  # fmt: skip
SENTENCE = {"sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False}}
POOLING = {"1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}}
STRANGE: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2, 3, 7, 1000, 10**5, 10**7, 10**9, 10**12, 10**25, 0.5, -0.5, 1e30, float("nan"),
    float("inf"), "", "x", "7", "bert", "../..", "gelu", "\x1b[31mred\nline", [], [1], [1, 2], ["a"], {}, {"a": 1},
)  # fmt: skip


def prepare(tiny: Tiny, folder: Path) -> dict[str, tuple[str, Path, Path]]:
    """A BERT as a sentence encoder, a ResNet and a ViT: task, model folder and data of each."""
    subject = {}
    for name in ("bert", "resnet", "vit"):
        model = Path(shutil.copytree(tiny[name], folder / name))
        task, data = ("text-classification", "texts") if name == "bert" else ("image-classification", "images")
        for file, content in (SENTENCE | POOLING).items() if name == "bert" else ():
            (model / file).parent.mkdir(exist_ok=True)
            (model / file).write_text(json.dumps(content), encoding="utf-8")
        subject[name] = (task, model, tiny[data])
    return subject


def trial(subject: dict[str, tuple[str, Path, Path]], rng: np.random.Generator, folder: Path) -> str:
    """Damage one file of one model and plan on it, sometimes train."""
    task, healthy, data = subject[str(rng.choice(list(subject)))]
    model = Path(shutil.copytree(healthy, folder / "model"))
    if rng.random() < 0.2:
        what = damage_weights(model / "model.safetensors", rng)
    else:
        what = damage_json(model / str(rng.choice(JSON_FILES[task])), rng)
    recipe = folder / "recipe.yaml"
    run = folder / "run"
    content = {
        "task": task, "model": str(model), "data": {"train": str(data)}, "tune": {"method": "full"},
        "train": {"epochs": 1, "batch_size": 16, "precision": "fp32", "threads": 1},
    }  # fmt: skip
    recipe.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    command = ["train", str(recipe), "--run", str(run)] if rng.random() < TRAINED else ["plan", str(recipe)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        ending = ended(command)
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < GROWN, f"{what}: {command[0]} took {grown / 2**20:.1f} GB of memory"
    return ending


def damage_json(path: Path, rng: np.random.Generator) -> str:
    """Change, remove or add one value of a JSON file, or cut its text."""
    text = path.read_text(encoding="utf-8")
    if rng.random() < 0.1:
        at = int(rng.integers(0, len(text)))
        path.write_text(text[:at], encoding="utf-8")
        return f"{path.name} cut at {at}"
    content = json.loads(text)
    places: list[tuple[Any, Any]] = [({"": content}, "")]
    for holder, key in places:
        value = holder[key]
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        picked = list(inner)
        if len(picked) > 40:  # a vocabulary: a few of its words are enough
            picked = [picked[int(one)] for one in rng.choice(len(picked), 5, replace=False)]
        places += [(value, one) for one, _ in picked]
    holder, key = places[int(rng.integers(1, len(places)))]
    if rng.random() < 0.15:
        del holder[key]
        what = f"{path.name}: {key!r} removed"
    else:
        holder[key] = STRANGE[int(rng.integers(len(STRANGE)))]
        what = f"{path.name}: {key!r} is {holder[key]!r}"
    path.write_text(json.dumps(content), encoding="utf-8")
    return what


def damage_weights(path: Path, rng: np.random.Generator) -> str:
    """Cut a safetensors file, or change its header or bytes."""
    raw = bytearray(path.read_bytes())
    length = int.from_bytes(raw[:8], "little")
    kind = str(rng.choice(["cut", "header", "tensor", "bytes", "length", "gone"]))
    if kind == "gone":
        path.unlink()
        return f"{path.name} removed"
    if kind == "cut":
        raw = raw[: int(rng.integers(0, len(raw)))]
    elif kind == "header":
        raw[int(rng.integers(8, 8 + length))] = int(rng.integers(0, 256))
    elif kind == "length":
        raw[:8] = int(rng.integers(0, 2**62)).to_bytes(8, "little")
    elif kind == "bytes":
        at = int(rng.integers(8 + length, len(raw) - 64))
        raw[at : at + 64] = bytes(rng.integers(0, 256, 64, dtype=np.uint8))
    else:
        header = json.loads(raw[8 : 8 + length])
        name = str(rng.choice([one for one in header if one != "__metadata__"]))
        field = str(rng.choice(["dtype", "shape", "data_offsets", "name"]))
        if field == "name":
            header[f"{name}.other"] = header.pop(name)
        else:
            header[name][field] = STRANGE[int(rng.integers(len(STRANGE)))] if field != "dtype" else "I64"
        changed = json.dumps(header).encode()
        raw = bytearray(len(changed).to_bytes(8, "little") + changed + raw[8 + length :])
    path.write_bytes(raw)
    return f"{path.name}: {kind}"
