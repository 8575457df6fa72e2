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

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


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
            self.tokenizer.no_padding()

    def predict(self, inputs: list[str]) -> list[tuple[str, float]]:
        """Label and probability of each input: a text, or the path of an image."""
        batch = self.texts(inputs) if self.facts["kind"] == "text" else self.images(inputs)
        logits = self.session.run(["logits"], batch)[0].astype(np.float64)  # (rows, labels)
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        return [(self.labels[row.argmax()], float(row.max())) for row in chances]

    def texts(self, texts: list[str] | list[tuple[str, str]]) -> dict[str, Any]:
        """Ids, padded to the longest text: int64 (rows, length)."""
        limit = self.facts.get("max_characters")  # None: the whole text
        cut = [text[:limit] if isinstance(text, str) else tuple(part[:limit] for part in text) for text in texts]
        rows = [(one.ids or [self.facts["lone_id"]], one.type_ids or [0]) for one in self.tokenizer.encode_batch(cut)]
        length = max(len(ids) for ids, _ in rows)
        batch = {name: np.zeros((len(rows), length), dtype=np.int64) for name in INPUTS}
        batch["input_ids"] += self.facts["pad_id"]
        for at, (ids, type_ids) in enumerate(rows):
            where = slice(0, len(ids)) if self.facts["padding_side"] == "right" else slice(length - len(ids), length)
            for name, values in zip(INPUTS, (ids, [1] * len(ids), type_ids), strict=True):
                batch[name][at, where] = values
        return {name: batch[name] for name in self.facts["inputs"]}

    def images(self, paths: list[str]) -> dict[str, Any]:
        """Pixels, float32 (rows, 3, size, size)."""
        from PIL import Image

        size, resize = self.facts["size"], self.facts["resize"]
        made = []
        for path in paths:
            image = upright_rgb(path)
            short, long = sorted(image.size)
            scaled = resize if self.facts["stretch"] else int(resize * long / short)
            wide = (resize, scaled) if image.width <= image.height else (scaled, resize)
            image = image.resize(wide, Image.Resampling[self.facts["interpolation"].upper()])
            left, top = round((wide[0] - size) / 2), round((wide[1] - size) / 2)
            pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / np.float32(255)
            pixels = (pixels - np.float32(self.facts["mean"])) / np.float32(self.facts["std"])
            made.append(pixels.transpose(2, 0, 1))
        return {"pixel_values": np.stack(made)}


def upright_rgb(path: str) -> Any:
    """An image turned upright by its EXIF mark. 16 bits a pixel become 8: Pillow alone would make them white."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1.0)
        image = Image.fromarray(np.clip(values / top * 255.0, 0, 255).round().astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


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
