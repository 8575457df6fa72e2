"""Write the parity kit: goldens from raw rows and from batches, tolerances, and ONNX's own test format."""

import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tunedeploy import device
from tunedeploy.device import agreement, tokenizer_checks
from tunedeploy.device.decisions import classes
from tunedeploy.device.encoders import Array, Encoder, Inputs, Row
from tunedeploy.device.goldens import JPEG, PNG, SETS, Rule
from tunedeploy.device.runtime import Session, instruction_set
from tunedeploy.run.atomic import write_json

BATCHES = (1, 2, 3, 7)
assert len(BATCHES) == SETS
THREADS = 1  # of the sessions that make goldens, so that machines with more cores write the same bytes
SAME_MACHINE = 0.05  # of the drift: equal kernels on equal input differ by nothing, other thread counts by little


def write(folder: Path, *, bundle: Path, encoder: Encoder, rows: Sequence[Row], limits: Mapping[str, Any]) -> None:
    """Write `folder` (the bundle's `parity/`).

    Args:
        folder: to fill.
        bundle: holds the files of `limits["variants"]`.
        encoder: the bundle's preprocessing.
        rows: raw rows, real ones and edges.
        limits: `variants` (name to file), `fp32` (tolerance of logits), `labels`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sessions = {name: Session(bundle / file, threads=THREADS) for name, file in limits["variants"].items()}
    arrays: dict[str, Array] = {}
    for at, row in enumerate(rows):
        add(arrays, f"raw{at:03d}", encoder.collate(encoder.encode([row])), sessions)
    features = encoder.encode(list(rows))
    start = 0
    for number, batch in enumerate(BATCHES):
        chosen = [features[(start + one) % len(features)] for one in range(batch)]
        start += batch
        inputs = encoder.collate(chosen)
        add(arrays, f"set{number}", inputs, sessions)
        onnx_test(folder / f"test_data_set_{number}", inputs, arrays[f"set{number}/output/fp32"])
    write_npz(folder / "golden.npz", arrays)
    probe = tokenizer_checks.probed(bundle, rows)
    write_json(folder / "golden.json", {
        "labels": list(limits["labels"]),
        "preprocessing": encoder.facts,
        "input_tolerance": agreement.PIXELS if encoder.facts["kind"] == "image" else 0,
        "rows": [portable(row, at, folder) for at, row in enumerate(rows)],
        **probe,
    })  # fmt: skip
    write_json(folder / "tolerances.json", {
        "made_on": {"instruction_set": instruction_set(), "onnxruntime": onnxruntime.__version__, "threads": THREADS},
        "variants": {name: rule(name, limits, arrays) for name in sessions},
    })  # fmt: skip
    copy_device(folder)


def copy_device(folder: Path) -> None:
    """Put tunedeploy's own device folder into a kit, file by file, and the test that runs on it beside."""
    own = Path(device.__file__).parent
    for path in sorted(own.rglob("*.py")):
        target = folder / "device" / path.relative_to(own)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(own / "kit" / "claims.py", folder / "test_parity.py")


def add(arrays: dict[str, Array], name: str, inputs: Inputs, sessions: Mapping[str, Session]) -> None:
    """Keep a batch and what each variant makes of it."""
    arrays |= {f"{name}/input/{key}": value for key, value in inputs.items()}
    arrays |= {f"{name}/output/{variant}": session(inputs) for variant, session in sessions.items()}


def rule(name: str, limits: Mapping[str, Any], arrays: Mapping[str, Array]) -> Rule:
    """How a variant is judged: its file, the difference allowed on an equal machine, what a near-tie is elsewhere."""
    file = limits["variants"][name]
    if name == "fp32":
        return {"file": file, "max_abs": limits["fp32"]}
    keys = [key.rpartition("/")[0] for key in arrays if key.endswith("/output/fp32")]
    first = np.concatenate([arrays[f"{key}/fp32"] for key in keys])
    second = np.concatenate([arrays[f"{key}/{name}"] for key in keys])
    drift = agreement.drift(first, second)
    return {
        "file": file,
        "max_abs": max(SAME_MACHINE * drift, limits["fp32"]),
        "near_tie": classes.near_tie(first, second),
    }


def onnx_test(folder: Path, inputs: Inputs, output: Array) -> None:
    """A batch as `input_K.pb` and `output_0.pb`, the format of the ONNX project's own backend tests."""
    folder.mkdir(parents=True, exist_ok=True)
    for at, (name, value) in enumerate(inputs.items()):
        (folder / f"input_{at}.pb").write_bytes(onnx.numpy_helper.from_array(value, name).SerializeToString())
    (folder / "output_0.pb").write_bytes(onnx.numpy_helper.from_array(output, "logits").SerializeToString())


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """An .npz without time stamps, so that equal arrays are equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())


def portable(row: Row, at: int, folder: Path) -> dict[str, str]:
    """A raw row as JSON; an image becomes a PNG of its upright RGB pixels beside, a PNG or JPEG stays as it is."""
    kept: dict[str, str] = {name: row[name] for name in ("text", "text_pair") if row.get(name) is not None}
    if "image" in row:
        from tunedeploy.device.encoders.image import open_image

        (folder / "images").mkdir(exist_ok=True)
        if isinstance(row["image"], bytes) and row["image"].startswith((JPEG, PNG)):
            kept["image"] = f"images/{at:03d}.{'jpg' if row['image'].startswith(JPEG) else 'png'}"
            (folder / kept["image"]).write_bytes(row["image"])
        else:
            kept["image"] = f"images/{at:03d}.png"
            open_image(row["image"]).save(folder / kept["image"])
    return kept
