"""Write the parity kit: goldens from raw rows and from batches, tolerances, and ONNX's own test format."""

import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
import onnx
import onnxruntime

from tunedeploy import device
from tunedeploy.device import tokenizer_checks
from tunedeploy.device.decisions import near_tie
from tunedeploy.device.encoders import Array, DeviceEncoder, Inputs, Row
from tunedeploy.device.goldens import SETS, Rule, onnx_test_folder
from tunedeploy.device.parts import Parts
from tunedeploy.device.programs import Pass
from tunedeploy.device.runtime import Sessions, instruction_set
from tunedeploy.device.signature import Call, Recording
from tunedeploy.run.atomic import write_json

BATCHES = (1, 2, 3, 7)
assert len(BATCHES) == SETS
THREADS = 1  # of the sessions that make goldens, so that machines with more cores write the same bytes
SAME_MACHINE = 0.05  # of the drift: equal kernels on equal input differ by nothing, other thread counts by little


class Limits(TypedDict):
    """What writing a kit needs: each variant's files by graph, float32's tolerance, labels and preprocessing."""

    variants: Mapping[str, Mapping[str, str]]
    fp32: float
    labels: Sequence[str]
    encoder: DeviceEncoder


def write(folder: Path, *, bundle: Path, parts: Parts, rows: Sequence[Row], limits: Limits) -> None:
    """Write `folder` (the bundle's `parity/`).

    Args:
        folder: to fill.
        bundle: holds the files of `limits["variants"]`.
        parts: the bundle's preprocessing, graph and decision.
        rows: raw rows, real ones and edges.
        limits: see `Limits`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = limits["encoder"]
    passes = {name: opened(parts, bundle, files) for name, files in limits["variants"].items()}
    kit = Kit(parts=parts, passes=passes)
    for at, row in enumerate(rows):
        kit.add(f"raw{at:03d}", encoder.collate(encoder.encode([row])))
    features = encoder.encode(list(rows))
    start = 0
    for number, batch in enumerate(BATCHES):
        chosen = [features[(start + offset) % len(features)] for offset in range(batch)]
        start += batch
        inputs = encoder.collate(chosen)
        kit.add(f"set{number}", inputs)
        for call in kit.calls(inputs):
            onnx_test(folder / onnx_test_folder(parts.program, call.graph, number), call)
    write_npz(folder / "golden.npz", kit.arrays)
    probe = tokenizer_checks.probed(bundle, rows)
    write_json(folder / "golden.json", {
        "labels": list(limits["labels"]),
        "preprocessing": encoder.facts,
        "input_tolerance": encoder.tolerance,
        "rows": [encoder.portable(row, at, folder) for at, row in enumerate(rows)],
        **kit.texts(rows),
        **probe,
    })  # fmt: skip
    write_json(folder / "tolerances.json", {
        "made_on": {"instruction_set": instruction_set(), "onnxruntime": onnxruntime.__version__, "threads": THREADS},
        "variants": {name: kit.rule(name, limits) for name in passes},
    })  # fmt: skip
    copy_device(folder)


def opened(parts: Parts, bundle: Path, files: Mapping[str, str]) -> Pass:
    """Sessions of a variant's files, by graph, whose outputs do not depend on the number of cores."""
    paths = {graph: bundle / file for graph, file in files.items()}
    return Pass(program=parts.program, run=Sessions(paths, threads=THREADS))


def copy_device(folder: Path) -> None:
    """Copy tunedeploy's own device folder into a kit, file by file, together with the test that uses it."""
    own = Path(device.__file__).parent
    for path in sorted(own.rglob("*.py")):
        target = folder / "device" / path.relative_to(own)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(own / "kit" / "claims.py", folder / "test_parity.py")


@dataclass(frozen=True, kw_only=True)
class Kit:
    """Golden batches, with each variant's outputs and evidence."""

    parts: Parts
    passes: Mapping[str, Pass]
    arrays: dict[str, Array] = field(default_factory=dict)
    evidence: dict[str, list[Array]] = field(default_factory=dict)  # variant to the evidence of each batch

    def add(self, name: str, batch: Inputs) -> None:
        """Keep a batch with each variant's output and evidence."""
        output = self.parts.program.graph.outputs[0].name
        self.arrays.update({f"{name}/input/{key}": value for key, value in batch.items()})
        for variant, forward in self.passes.items():
            outputs = forward(batch)
            self.arrays[f"{name}/output/{variant}"] = outputs[output]
            answers = self.parts.decision.answers(outputs, batch)
            self.evidence.setdefault(variant, []).append(answers.evidence)

    def calls(self, batch: Inputs) -> list[Call]:
        """The calls of a pass in float32."""
        recording = Recording(self.passes["fp32"].run)
        self.parts.program.forward(recording, batch)
        return recording.calls

    def texts(self, rows: Sequence[Row]) -> dict[str, dict[str, list[str]]]:
        """The text that each variant generates for each row alone, as in an app; empty if it generates none."""
        if not self.parts.program.generates:
            return {}
        texts = {
            name: [self.parts.generated(forward.run, [row])[0] for row in rows]
            for name, forward in self.passes.items()
        }  # fmt: skip
        return {"texts": texts}

    def rule(self, name: str, limits: Limits) -> Rule:
        """How a variant is judged: its file, the difference allowed on an equal machine, a near-tie elsewhere."""
        file = list(limits["variants"][name].values())[-1]
        if name == "fp32":
            return {"file": file, "max_abs": limits["fp32"]}
        decision = self.parts.decision
        first, second = (np.concatenate(self.evidence[variant]) for variant in ("fp32", name))
        drift = float(np.median(decision.compare(first, second).moved))
        return {
            "file": file,
            "max_abs": max(SAME_MACHINE * drift, limits["fp32"]),
            "near_tie": near_tie(decision, first, second),
        }


def onnx_test(folder: Path, call: Call) -> None:
    """A call as `input_K.pb` and `output_K.pb`, the format of the ONNX project's own backend tests."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, values in (("input", call.inputs), ("output", call.outputs)):
        for at, (name, value) in enumerate(values.items()):
            (folder / f"{side}_{at}.pb").write_bytes(onnx.numpy_helper.from_array(value, name).SerializeToString())


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """An .npz without time stamps, so that equal arrays are equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())
