"""Load a bundle in an app: onnxruntime, numpy, and tokenizers or Pillow; neither torch nor tunedeploy.

    python examples/python_app.py runs/quickstart/dist "A warm, funny film."
    python examples/python_app.py --variant int8 runs/flowers/dist photo.jpg

A bundle brings the code that prepares its inputs and decides its answers, in `parity/device/`: the code that it was
evaluated and verified with. Copy that folder into your app, or import it from the bundle as here. It is code: check a
bundle that comes from elsewhere with `tunedeploy verify DIST --expect ID` first.
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description="The answer to each input, such as a label and its probability.")
    parser.add_argument("bundle", type=Path, help="the folder with manifest.json")
    parser.add_argument("input", nargs="+", help="a text, or the path of an image")
    parser.add_argument("--variant", default="fp32", help="fp32, int8, ...")
    options = parser.parse_args()
    sys.dont_write_bytecode = True  # so that nothing is added to the bundle
    sys.path.insert(0, str(options.bundle / "parity"))
    from device.bundle import load_bundle  # type: ignore[import-not-found]

    answers = load_bundle(options.bundle).predict(options.input, options.variant)
    for answer, given in zip(answers, options.input, strict=True):
        values = (f"{one:.4f}" if isinstance(one, float) else str(one) for one in answer.values())
        print(*values, given, sep="\t")


if __name__ == "__main__":
    main()
