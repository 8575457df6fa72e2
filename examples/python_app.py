"""Load a bundle in an app: onnxruntime, numpy, and tokenizers or Pillow; neither torch nor tunedeploy.

    python examples/python_app.py runs/quickstart/dist "A warm, funny film."
    python examples/python_app.py --variant int8 runs/flowers/dist photo.jpg

Copy what your app needs. `parity/test_parity.py` in the bundle tells whether the copy still computes the same.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Model:
    """A bundle folder, and one of its variants."""

    def __init__(self, folder: Path, variant: str = "fp32") -> None:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.labels: list[str] = manifest["labels"]
        self.facts: dict[str, Any] = manifest["preprocessing"]
        file = folder / manifest["variants"][variant]["file"]
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        if self.facts["kind"] == "text":
            from tokenizers import Tokenizer

            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))  # truncates by itself

    def predict(self, inputs: list[str]) -> list[tuple[str, float]]:
        """Label and probability of each input: a text, or the path of an image."""
        batch = self.texts(inputs) if self.facts["kind"] == "text" else self.images(inputs)
        logits = self.session.run(["logits"], batch)[0].astype(np.float64)  # (rows, labels)
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        return [(self.labels[row.argmax()], float(row.max())) for row in chances]

    def texts(self, texts: list[str]) -> dict[str, Any]:
        """Ids, padded to the longest text: int64 (rows, length)."""
        cut = [text[: self.facts.get("max_characters")] for text in texts]  # None: the whole text
        rows = [one.ids or [self.facts["lone_id"]] for one in self.tokenizer.encode_batch(cut)]
        length = max(map(len, rows))
        ids = np.full((len(rows), length), self.facts["pad_id"], dtype=np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            where = slice(0, len(row)) if self.facts["padding_side"] == "right" else slice(length - len(row), length)
            ids[at, where], mask[at, where] = row, 1
        made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {name: made[name] for name in self.facts["inputs"]}

    def images(self, paths: list[str]) -> dict[str, Any]:
        """Pixels, float32 (rows, 3, size, size)."""
        from PIL import Image, ImageOps

        size, resize = self.facts["size"], self.facts["resize"]
        made = []
        for path in paths:
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            short, long = sorted(image.size)
            scaled = resize if self.facts["stretch"] else int(resize * long / short)
            wide = (resize, scaled) if image.width <= image.height else (scaled, resize)
            image = image.resize(wide, Image.Resampling[self.facts["interpolation"].upper()])
            left, top = round((wide[0] - size) / 2), round((wide[1] - size) / 2)
            pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / np.float32(255)
            pixels = (pixels - np.float32(self.facts["mean"])) / np.float32(self.facts["std"])
            made.append(pixels.transpose(2, 0, 1))
        return {"pixel_values": np.stack(made)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Label and probability of each input.")
    parser.add_argument("bundle", type=Path, help="the folder with manifest.json")
    parser.add_argument("input", nargs="+", help="a text, or the path of an image")
    parser.add_argument("--variant", default="fp32", help="fp32, int8, ...")
    options = parser.parse_args()
    found = Model(options.bundle, options.variant).predict(options.input)
    for (label, probability), given in zip(found, options.input, strict=True):
        print(f"{label}\t{probability:.4f}\t{given}")


if __name__ == "__main__":
    main()
