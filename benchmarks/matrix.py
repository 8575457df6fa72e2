"""Healthy architectures, each built from a config and really trained a little: every one must export, quantize, verify.

    python benchmarks/matrix.py [NAME ...] [--write docs/matrix.md]

Prints a row an architecture and method; exits 1 if one raises a false alarm. About 20 minutes on two cores.
"""

import contextlib
import io
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from tests import tiny
from tunedeploy import pipeline, recipe
from tunedeploy.errors import TunedeployError
from tunedeploy.rundir import RunDir

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 80,
    "pad_token_id": 0,
}
IMAGE: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def text(name: str, **more: Any) -> Callable[[Path], str]:
    """A text trunk of a configuration class, with the tiny WordPiece tokenizer."""

    def build(folder: Path) -> str:
        tiny.bert(folder)
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**(TEXT | more))
        (folder / "model.safetensors").unlink()
        getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
        return str(folder)

    return build


def image(name: str, **config: Any) -> Callable[[Path], str]:
    """An image trunk of a configuration class."""

    def build(folder: Path) -> str:
        torch.manual_seed(0)
        made = getattr(transformers, f"{name}Config")(**config)
        getattr(transformers, f"{name}Model")(made).save_pretrained(folder)
        tiny.write_json(
            folder / "preprocessor_config.json",
            {"size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        )
        return str(folder)

    return build


ALL: dict[str, tuple[str, Callable[[Path], str]]] = {
    "bert": ("text", text("Bert")),
    "distilbert": ("text", text("DistilBert", dim=32, n_layers=2, n_heads=2, hidden_dim=64)),
    "roberta": ("text", text("Roberta")),
    "albert": ("text", text("Albert", embedding_size=16)),
    "electra": ("text", text("Electra", embedding_size=16)),
    "mpnet": ("text", text("MPNet")),
    "deberta-v2": ("text", text("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0)),
    "modernbert": ("text", text("ModernBert", cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3)),
    "mobilebert": (
        "text",
        text(
            "MobileBert", embedding_size=16, intra_bottleneck_size=16, true_hidden_size=16, num_feedforward_networks=1
        ),
    ),
    "xlm-roberta": ("text", text("XLMRoberta")),
    "resnet": ("image", image("ResNet", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")),
    "mobilenet-v2": ("image", lambda _: "torchvision://mobilenet_v2"),
    "mobilenet-v3": ("image", lambda _: "torchvision://mobilenet_v3_small"),
    "efficientnet": ("image", lambda _: "torchvision://efficientnet_b0"),
    "regnet": (
        "image",
        image("RegNet", embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], groups_width=16),
    ),
    "convnext": ("image", image("ConvNext", hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1])),
    "vit": ("image", image("ViT", **IMAGE)),
    "deit": ("image", image("DeiT", **IMAGE)),
    "swin": (
        "image",
        image("Swin", image_size=32, patch_size=2, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4),
    ),
    "mobilevit": (
        "image",
        image("MobileViT", image_size=64, hidden_sizes=[32, 48, 64], neck_hidden_sizes=[8, 16, 24, 32, 48, 64, 96]),
    ),
    "dinov2": ("image", image("Dinov2", **(IMAGE | {"mlp_ratio": 2}))),
}
METHODS = ("last-layer", "lora")


def attempt(folder: Path, name: str, method: str) -> tuple[str, bool]:
    """One architecture by one method through the whole pipeline; a row of the table."""
    kind, build = ALL[name]
    began = time.monotonic()
    home = folder / f"{name}-{method}"
    home.mkdir()
    data = tiny.texts(home / "texts.csv") if kind == "text" else tiny.images(home / "images")
    (home / "model").mkdir()
    lines = [
        f"task: {kind}-classification",
        f"model: {build(home / 'model')}",
        f"data: {{train: {data}}}",
        f"tune: {{method: {method}}}",
        "train: {epochs: 2, balance: none}",
        "export: {quantize: int8, max_drop: 100}",
    ]
    (home / "recipe.yaml").write_text("\n".join(lines) + "\n")
    rundir = RunDir(home / "run")
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            pipeline.run(recipe.read(home / "recipe.yaml"), rundir)
    except TunedeployError as error:
        return f"| {name} | {method} | {type(error).__name__}: {error.lines[0]} | | |", error.exit_code == 1
    except Exception:  # noqa: BLE001 - a table of what happened, not a place to stop
        return f"| {name} | {method} | BUG {traceback.format_exc().splitlines()[-1][:200]} | | |", False
    ledger = rundir.shipped()["ledger"]
    used = max(
        one["value"] / one["limit"] for one in ledger if one["at_most"] and one["limit"] and "logit" in one["name"]
    )
    sqnr = next(one["facts"]["sqnr_db"] for one in ledger if "sqnr_db" in one["facts"])
    return f"| {name} | {method} | all held | {used:.2f} | {sqnr:.1f} | {time.monotonic() - began:.0f} |", True


def main() -> None:
    names = [one for one in sys.argv[1:] if one in ALL] or list(ALL)
    rows = [
        "| architecture | method | verdict | largest share of a limit used | int8 SQNR, dB | seconds |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(rows), flush=True)
    healthy = True
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for method in METHODS:
                row, good = attempt(Path(folder), name, method)
                rows.append(row)
                print(row, flush=True)
                healthy &= good
    if "--write" in sys.argv:
        page = "# Healthy architectures\n\nWritten by `make matrix`; a false alarm would be listed here.\n\n"
        Path(sys.argv[sys.argv.index("--write") + 1]).write_text(page + "\n".join(rows) + "\n")
    sys.exit(0 if healthy else 1)


if __name__ == "__main__":
    main()
