"""What the tiny runs come out as: hashes of their files and the values of their ledgers, kept while code moves.

python -m tests.same_bytes     writes tests/same_bytes.json anew, where a change is meant to alter what comes out
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.finished import Finished, built
from tests.tiny import Tiny
from tunedeploy.device.files import read_json, sha256
from tunedeploy.device.runtime import instruction_set

RECORD = Path(__file__).with_suffix(".json")
# The packages that decide what comes out.
DECIDING = (
    "torch", "transformers", "peft", "onnx", "onnxscript", "onnxruntime", "torchvision", "tokenizers", "pillow",
    "numpy", "safetensors",
)  # fmt: skip
FILES = ("onnx/*.onnx", "quantized/*.onnx", "dist/onnx/*.onnx", "dist/parity/golden.*", "dist/parity/tolerances.json",
         "dist/parity/test_data_set_*/*.pb", "dist/parity/images/*", "dist/*.json")  # fmt: skip
TASKS = ("text-classification", "image-classification")
CHANGING = ("dist/manifest.json",)  # holds the hashes of the kit's own code, which is what moves


def machine() -> str:
    """The instruction set, on which float32 sums and integer kernels depend."""
    return " ".join(instruction_set())


def versions() -> dict[str, str]:
    """Package to version, of those that decide."""
    return {name: version(name) for name in DECIDING}


def outcome(finished: Finished) -> dict[str, Any]:
    """Hash of each file, and `value` and `limit` of each comparison of the ledger, by its file and name."""
    paths = sorted(path for pattern in FILES for path in finished.run.glob(pattern))
    files = {path.relative_to(finished.run).as_posix(): sha256(path) for path in paths}
    ledger = read_json(finished.run / "ledger.json")
    return {
        "files": {name: digest for name, digest in files.items() if name not in CHANGING},
        "ledger": {
            f"{one['file']}: {one['name']}": [one["value"], one["limit"]]
            for one in [*ledger["merge"], *ledger["comparisons"]]
        },
    }


def recorded() -> dict[str, Any]:
    """What tests/same_bytes.json holds: machine to `versions` and `tasks`."""
    content: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return content


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tiny = Tiny(Path(folder))
        record = recorded() if RECORD.exists() else {}
        record[machine()] = {"versions": versions(), "tasks": {task: outcome(built(tiny, task)) for task in TASKS}}
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
