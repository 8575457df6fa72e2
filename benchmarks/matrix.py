"""Healthy architectures, each built from a config and really trained a little: every one must export, quantize, verify.

    python benchmarks/matrix.py [NAME ...] [--write docs/matrix.md] [--rows build/matrix.jsonl]

A trunk starts from seeded random weights, is trained whole on rows of its own, and is then tuned by each method on
other rows, as a checkpoint would be. Prints a row an architecture and method; exits 1 if a healthy one is stopped.
About an hour on one core.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout: this file is run by its path too

import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file
from timm import create_model
from torchvision.models import get_model

from tests import tiny
from tests.tasks.test_translation import WORDS
from tunedeploy.device.sentences import OF_LOGITS
from tunedeploy.errors import TunedeployError, UserError
from tunedeploy.models import seq2seq
from tunedeploy.models import translator as models_translator
from tunedeploy.recipe import read as recipe
from tunedeploy.recipe.read import Recipe
from tunedeploy.run import pipeline
from tunedeploy.run.atomic import write_text
from tunedeploy.run.folder import RunDir, versions

METHODS = ("last-layer", "lora")
# What a row must reach, or its verdict says nothing of a trained model. Chance is a third of the answers in the tasks
# with classes, which have three of equal size; next to nothing in the others.
TRAINED = {
    "text-classification": 60.0, "image-classification": 60.0,  # accuracy, %
    "token-classification": 50.0,  # entity F1, %
    "text-regression": 0.5,  # Spearman's correlation
    "translation": 5.0,  # BLEU, %
}  # fmt: skip
COLUMNS = (
    "architecture", "task", "trunk", "method", "verdict", "fp32", "int8", "int8 by", "SQNR, dB", "share of a limit",
    "seconds",
)  # fmt: skip

PACKAGES = ("torch", "transformers", "torchvision", "peft", "onnx", "onnxscript", "onnxruntime")
PAGE = """\
# Which architectures were tried?

{rows}

Each is built from a configuration with a fixed seed and trained whole on rows of its own. That trunk is then tuned on
other rows, by the head alone and by LoRA, exported, quantized to int8, verified and bundled. The widths are tiny, the
operators and the order of layers are the architecture's. Torchvision's have their own widths, on images of 32 pixels.
Texts to be classified go through a WordPiece tokenizer of a hundred words.

- **verdict**: `all held`: every comparison of [the parity check](parity.md) did. `refused: ...`: planning ends with
  this line, before anything is trained, and neither method is tried. Whatever else stands there is a false alarm or a
  bug, and fails the run.
- **fp32, int8**: the task's metric on the evaluation split: accuracy in percent, entity F1 in percent, Spearman's
  correlation, BLEU. A row below {least} fails the run, since it would say nothing of a trained model.
- **int8 by**: how, and the number of weight tensors that became integers.
- **SQNR**: the logits' signal to quantization noise, int8 against fp32.
- **share of a limit**: the most that a comparison of float32 logits used of its tolerance; 1 would be a breach.
- **seconds**: on one thread, from the recipe to the bundle, without the training of the trunk.

Written by `make matrix`; `make test` runs a part of it. Made with {made_with}.
"""

# Averages of BatchNorm start at 1 and follow by a tenth a step; a hundred steps lie between them and what they measure.
WHOLE: dict[str, dict[str, Any]] = {
    "text-classification": {"epochs": 4, "lr": 0.003, "batch_size": 16},
    "image-classification": {"epochs": 11, "lr": 0.003, "batch_size": 8},
    "token-classification": {"epochs": 12, "lr": 0.003, "batch_size": 16},
    "text-regression": {"epochs": 12, "lr": 0.003, "batch_size": 16},
    "translation": {"epochs": 24, "lr": 0.005, "batch_size": 16},
}
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "pad_token_id": 0,
    "initializer_range": 0.15,  # 0.02 is for widths of 768: here it would leave attention next to nothing to say
}
IMAGE: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.1,
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A trunk of seeded random weights: `make` writes it into a folder and returns what a recipe calls it."""

    task: str
    trunk: str
    make: Callable[[Path], str]
    side: int = 0  # pixels, where the folder does not say


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one architecture by one method."""

    name: str
    method: str
    verdict: str
    good: bool
    figures: tuple[str, ...] = ("",) * 5
    seconds: float = 0.0

    def cells(self) -> list[str]:
        """Its row of the table."""
        verdict = self.verdict.replace("|", "/")
        name, _, _ = self.name.partition(":")
        tried = ALL[self.name]
        return [name, tried.task, tried.trunk, self.method, verdict, *self.figures, f"{self.seconds:.0f}"]


def text(name: str, **more: Any) -> Architecture:
    """A text trunk of a configuration class, with the tiny WordPiece tokenizer; None leaves a setting of TEXT out."""

    def make(folder: Path) -> str:
        tiny.bert(folder)  # for its tokenizer; the trunk's files are written over
        words = transformers.BertConfig.from_pretrained(folder).vocab_size
        torch.manual_seed(0)
        settings = TEXT | {"vocab_size": words} | more
        taken = {key: value for key, value in settings.items() if value is not None}
        config = getattr(transformers, f"{name}Config")(**taken)
        getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
        return str(folder)

    return Architecture(task="text-classification", trunk=f"transformers {name}", make=make)


def image(name: str, *, side: int = 32, **config: Any) -> Architecture:
    """An image trunk of a configuration class."""

    def make(folder: Path) -> str:
        torch.manual_seed(0)
        made = getattr(transformers, f"{name}Config")(**config)
        getattr(transformers, f"{name}Model")(made).save_pretrained(folder)
        size = {"height": side, "width": side}
        facts = {"size": size, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        tiny.write_json(folder / "preprocessor_config.json", facts)
        return str(folder)

    return Architecture(task="image-classification", trunk=f"transformers {name}", make=make)


def torchvision(name: str) -> Architecture:
    """An image trunk of torchvision at its own width and depth; the recipe's seed makes its weights."""
    return Architecture(
        task="image-classification", trunk=f"torchvision {name}", make=lambda _: f"torchvision://{name}", side=32
    )


def timm(name: str, side: int = 32) -> Architecture:
    """An image trunk of timm at its own width and depth; the recipe's seed makes its weights."""
    return Architecture(task="image-classification", trunk=f"timm {name}", make=lambda _: f"timm://{name}", side=side)


def translator(name: str) -> Architecture:
    """An encoder and a decoder of one layer each, with a tokenizer of the words of the tiny sentences."""

    def make(folder: Path) -> str:
        tokenizer = seq2seq.train_tokenizer([*WORDS, *WORDS.values()] * 4, size=340, max_length=24)
        torch.manual_seed(0)
        if name == "Marian":
            model = seq2seq.small_marian(tokenizer, width=64, layers=1, positions=24)
        elif name == "T5":
            model = seq2seq.small_t5(tokenizer, width=64, layers=1)
        else:
            pad, end = tokenizer.token_to_id(seq2seq.PAD), tokenizer.token_to_id(seq2seq.END)
            model = transformers.BartForConditionalGeneration(
                transformers.BartConfig(
                    vocab_size=tokenizer.get_vocab_size(), d_model=64, encoder_layers=1, decoder_layers=1,
                    encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=128, decoder_ffn_dim=128,
                    max_position_embeddings=32, pad_token_id=pad, eos_token_id=end, bos_token_id=end,
                    decoder_start_token_id=end, forced_eos_token_id=None,
                )
            ).eval()  # fmt: skip
        model.save_pretrained(folder)
        facts = models_translator.facts_of(model, tokenizer, 24, 24)
        models_translator.save_tokenizer(tokenizer, folder, facts)
        return str(folder)

    return Architecture(task="translation", trunk=f"transformers {name}", make=make)


ALL: dict[str, Architecture] = {
    "BERT": text("Bert"),
    "DistilBERT": text("DistilBert", dim=32, n_layers=2, n_heads=2, hidden_dim=64),
    "RoBERTa": text("Roberta", type_vocab_size=1),
    "ALBERT": text("Albert", embedding_size=16),
    "ELECTRA": text("Electra", embedding_size=16),
    "MPNet": text("MPNet"),
    "DeBERTa-v2": text("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0),
    "ModernBERT": text("ModernBert", cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3),
    "MobileBERT": text(
        "MobileBert", embedding_size=16, intra_bottleneck_size=16, true_hidden_size=16, num_feedforward_networks=1
    ),
    "XLM-R": text("XLMRoberta", type_vocab_size=1, num_hidden_layers=3, num_attention_heads=4),
    "ResNet": image("ResNet", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic"),
    "MobileNetV2": torchvision("mobilenet_v2"),
    "MobileNetV3": torchvision("mobilenet_v3_small"),
    "EfficientNet": torchvision("efficientnet_b0"),
    "RegNet": image("RegNet", embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], groups_width=16),
    "ConvNeXt": image(
        "ConvNext",
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        layer_scale_init_value=0.5,  # the 1e-6 of the first step leaves every block silent; a trained one is not
        initializer_range=0.1,
    ),
    "ViT": image("ViT", **IMAGE),
    "DeiT": image("DeiT", **IMAGE),
    "Swin": image(
        "Swin", image_size=32, patch_size=2, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4,
        initializer_range=0.1,
    ),
    "MobileViT": image(
        "MobileViT", side=64, image_size=64, hidden_sizes=[32, 48, 64], neck_hidden_sizes=[8, 16, 24, 32, 48, 64, 96],
        initializer_range=0.1,
    ),
    "DINOv2": image("Dinov2", **(IMAGE | {"mlp_ratio": 2})),
    "XLNet": text("XLNet", d_model=32, n_layer=2, n_head=2, d_inner=64, max_position_embeddings=None),
    "ConvBERT": text("ConvBert", embedding_size=32, head_ratio=1, conv_kernel_size=3),
    "Nystromformer": text("Nystromformer", num_landmarks=64, segment_means_seq_len=64),
    "Funnel": text("Funnel", num_hidden_layers=None, block_sizes=[1, 1], d_model=32, n_head=2, d_head=16, d_inner=64),
    "Longformer": text("Longformer", attention_window=8),
    "DenseNet": torchvision("densenet121"),
    "ShuffleNetV2": torchvision("shufflenet_v2_x0_5"),
    "SqueezeNet": torchvision("squeezenet1_1"),
    "GhostNet": timm("ghostnet_050"),
    "PoolFormer": timm("poolformer_s12"),
}  # fmt: skip


ENCODERS = ("BERT", "DistilBERT", "RoBERTa", "ALBERT", "ELECTRA", "MPNet", "DeBERTa-v2", "ModernBERT", "XLM-R")
ALL |= {
    f"{name}: {task}": replace(ALL[name], task=task)
    for task in ("token-classification", "text-regression")
    for name in ENCODERS
} | {f"{name}: translation": translator(name) for name in ("Marian", "T5", "BART")}


def written(folder: Path, one: Architecture, *, model: Any, seed: int, **sections: Any) -> Recipe:
    """A recipe on rows of this seed, read; tasks without classes have one set of rows."""
    makers: dict[str, Callable[[Path], Path]] = {
        "text-classification": lambda folder: tiny.texts(folder / "texts.csv", rows=150, seed=seed),
        "image-classification": lambda folder: tiny.images(folder / "images", each=40, seed=seed),
    }
    rows = makers.get(one.task, tiny.tiny_task(one.task).finished_data)(folder)
    content = {
        "task": one.task,
        "model": model,
        "data": {"train": str(rows)} | ({"image_size": one.side} if one.side else {}),
        **sections,
    }
    content["train"] = {"precision": "fp32", "threads": 1} | content.get("train", {})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return recipe.read(folder / "recipe.yaml")


def train_whole(folder: Path, one: Architecture) -> Any:
    """Train an architecture whole for a few seconds; what a recipe calls the trunk that came out."""
    model = one.make(folder / "random")
    made = written(folder, one, model=model, seed=1, tune={"method": "full"}, train=WHOLE[one.task])
    pipeline.run(made, RunDir(folder / "run"), until="merge")
    merged = folder / "run" / "merged"
    scheme, _, architecture = model.partition("://")
    if not architecture:
        return str(merged)
    makers = {"torchvision": get_model, "timm": create_model}
    state = makers[scheme](architecture).state_dict()  # with a classifier, as such files have one
    save_file(state | load_file(merged / "model.safetensors"), folder / "weights.safetensors")
    return {"name": model, "weights": str(folder / "weights.safetensors")}


def tune(folder: Path, one: Architecture, *, model: Any, method: str) -> tuple[str, ...]:
    """A trunk by one method through the whole pipeline; the figures of its row."""
    export = {"quantize": "int8", "max_drop": 100}
    made = written(folder, one, model=model, seed=0, tune={"method": method}, export=export)
    rundir = RunDir(folder / "run")
    pipeline.run(made, rundir)
    shipped = rundir.shipped()
    ledger, fp32, int8 = shipped["ledger"], shipped["variants"]["fp32"], shipped["variants"]["int8"]
    limited = [one for one in ledger if one["at_most"] and one["limit"] and one["id"] in OF_LOGITS]
    share = max(one["value"] / one["limit"] for one in limited)
    sqnr = next(one["facts"]["sqnr_db"] for one in ledger if one["id"] == "flips")
    count = next(one["facts"]["weights"] for one in ledger if one["id"] == "stored-weights")
    how = f"{int8['setting']['name']}, {count} tensors"
    digits = 3 if TRAINED[one.task] < 1 else 1
    return f"{fp32['metric']:.{digits}f}", f"{int8['metric']:.{digits}f}", how, f"{sqnr:.0f}", f"{share:.2f}"


def outcomes(folder: Path, name: str, methods: Iterable[str] = METHODS) -> Iterator[Outcome]:
    """What becomes of an architecture by each method; one outcome only, of `full`, if its trunk cannot be made."""
    model: Any = None
    for method in ("full", *methods):
        home = folder / f"{name}-{method}"
        home.mkdir()
        began = time.monotonic()
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                if method == "full":
                    model = train_whole(home, ALL[name])
                    continue
                figures = tune(home, ALL[name], model=model, method=method)
        except Exception as error:  # noqa: BLE001 - a table of what happened, not a place to stop
            yield stopped(name, method, error, RunDir(home / "run"))
            if method == "full":
                return
            continue
        trained = float(figures[0]) >= TRAINED[ALL[name].task]
        yield Outcome(
            name=name, method=method, figures=figures, seconds=time.monotonic() - began, good=trained,
            verdict="all held" if trained else f"NOT TRAINED: under {TRAINED[ALL[name].task]:g}",
        )  # fmt: skip


def stopped(name: str, method: str, error: Exception, rundir: RunDir) -> Outcome:
    """The verdict on an error; only one line of the user's kind, before anything is trained, is a refusal."""
    if not isinstance(error, TunedeployError):
        print("".join(traceback.format_exception(error)), file=sys.stderr)
        return Outcome(name=name, method=method, good=False, verdict=f"BUG: {type(error).__name__}: {error}"[:200])
    if isinstance(error, UserError) and len(error.lines) == 1 and not rundir.has("plan"):
        line = error.lines[0].replace(f"{rundir.path.parent}/", "")  # the temporary folder
        return Outcome(name=name, method=method, good=True, verdict=f"refused: {line}")
    return Outcome(name=name, method=method, good=False, verdict=f"FALSE ALARM: {error.lines[0]}")


def page(rows: Sequence[str]) -> str:
    """docs/matrix.md: how it was made, and the table."""
    named = [f"{name} {versions()[name]}" for name in PACKAGES if name in versions()]
    made_with = ",\n".join(", ".join(part) for part in (named[:2], named[2:]))
    least = ", ".join(f"{least:g} ({task})" for task, least in TRAINED.items())
    return PAGE.format(least=least, made_with=made_with, rows="\n".join(rows))


def main() -> None:
    """Try the architectures named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table as a page")
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="keep what was tried in FILE, and go on from there; delete it after a change of the code",
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(ALL))
    if unknown:
        parser.error(f"no architecture {unknown[0]!r}; there are {', '.join(ALL)}")
    rows = [COLUMNS, ["---"] * len(COLUMNS)]
    healthy = True
    for row in map(line, rows):
        print(row, flush=True)
    known = tried_before(arguments.rows)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or ALL:
            for one in known.get(name) or outcomes(Path(folder), name):
                rows.append(one.cells())
                print(line(one.cells()), flush=True)
                healthy &= one.good
                known.setdefault(name, []).append(one)
            if arguments.rows:
                keep(arguments.rows, name, known[name])
    if arguments.write:
        write_text(arguments.write, page([line(row) for row in rows]))
    sys.exit(0 if healthy else 1)


def tried_before(path: Path | None) -> dict[str, list[Outcome]]:
    """What became of the architectures that were tried with the versions of today, by their names."""
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.is_file() else []
    entries = [entry for entry in map(json.loads, lines) if entry["versions"] == versions()]
    return {
        entry["name"]: [Outcome(**{**each, "figures": tuple(each["figures"])}) for each in entry["outcomes"]]
        for entry in entries
    }


def keep(path: Path, name: str, tried: Sequence[Outcome]) -> None:
    """Add what became of an architecture to the file that `tried_before` reads, unless it is there."""
    if name not in tried_before(path):
        entry = {"name": name, "versions": versions(), "outcomes": [asdict(each) for each in tried]}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def line(cells: Sequence[str]) -> str:
    """Cells as a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
