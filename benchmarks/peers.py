"""The faults of tests/faults, put to tunedeploy and to the checks of optimum-onnx and torch.onnx: who stops what.

    python benchmarks/peers.py [--envs FOLDER] [--write docs/peers.md]

Each peer has an environment of its own below --envs, made the first time (torch is large: minutes); after that it takes
eight minutes on one core. Prints a row a fault, and exits 1 if tunedeploy lets one pass or a check stops a healthy run.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout: this file is run by its path too

import numpy as np
import onnx

from tests.faults.test_faults import FP32, RUN_FAULTS, SEMANTIC
from tests.finished import Finished, build, repair_run
from tests.tiny import Tiny
from tunedeploy import api
from tunedeploy.cli.commands import main as tunedeploy
from tunedeploy.data.recipe_data import data_of
from tunedeploy.proof.torch_run import sample
from tunedeploy.run.atomic import write_text
from tunedeploy.run.exported import encoder_of
from tunedeploy.run.folder import versions

OURS, OPTIMUM, VERIFY, BY_HAND = (
    "tunedeploy verify", "optimum export", "torch verify=True", "torch assert_onnx_program"
)  # fmt: skip
COLUMNS = (OURS, OPTIMUM, VERIFY, BY_HAND)
REQUIREMENTS = {
    # optimum-onnx 0.1 takes no newer transformers; optimum's tasks import requests without asking for it.
    "optimum": ("torch>=2.13,<3", "optimum-onnx", "onnxruntime", "onnxscript", "requests", "transformers<4.58"),
    "torch": ("torch>=2.13,<3", "onnx", "onnxruntime", "onnxscript", "safetensors", "transformers>=5,<6"),
}
TASKS = ("text-classification", "image-classification")
HEALTHY = "healthy: "
STOPPED, WARNED, PASSED, UNSEEN = "stopped", "warned", "passed", "not looked at"
STAGES = {
    "export": "the exported file",
    "merge": "the merged folder",
    "quantize": "the int8 file",
    "bundle": "the bundle's preprocessing",
}
CHEAP = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

PAGE = """\
# What do other exporters' checks stop?

The {count} faults of `tests/faults`, each put into a finished tiny run with its hashes repaired, and shown to four
checks. A cell counts faults {stopped} / {warned} / {passed} / {unseen}; only the first of these ends a build.

{summary}

- **stopped**: a non-zero exit. **warned**: the terminal says so, and the program goes on and exits 0.
- **passed**: the check ran on the faulty file and said nothing.
- **not looked at**: neither the graph of `onnx/model.onnx` nor the torch model differs from the healthy run's. The
  fault is in the int8 file, the tokenizer, the preprocessing or the labels, which a check of an export does not open
  and no peer claims to. The row "in reach" leaves these out.
- The faults are this project's own tests, so its first column is full by construction: the others are what is measured.
- A fault of the merge that passes changes the torch model and the file alike: who compares the two finds them equal.

## How was each asked?

- **{ours}**: `tunedeploy verify RUN --checks {checks}`; without `integrity`, which sees
  tampering, the hashes are no help. It exits 3.
- **{optimum}**: `onnx_export_from_model` of optimum-onnx, which `optimum-cli export onnx` calls, with the faulty file
  put in place of the exported one before optimum validates it: on its own random inputs, at its own tolerance (1e-5),
  the most alarming of five draws. Axes are renamed to the names that it knows. Logits that differ and outputs of other
  names are warnings there; a file that onnxruntime refuses to run is an error.
- **{verify}**: `torch.onnx.export(..., dynamo=True, verify=True)`, with the faulty graph put in place of the
  exported one after it was optimized: on the example (two rows of the evaluation split), at its own limits (0.005, and
  10 % of a logit), which NaN does not break. Nothing is raised: where onnxruntime refuses the file a cross is printed,
  which counts as warned.
- **{by_hand}**: `torch.onnx.testing.assert_onnx_program`, torch's helper for tests, called on what
  that export returned. No export calls it; whoever writes that line has a check that stops.

The torch model is the merged folder in the classes of `transformers`, with the pooling that it was tuned with. Each
check passes both healthy runs (the first rows below), or this page would not have been written.

The command itself, with nothing put in place: `optimum-cli export onnx --model M --task text-classification OUT` exits
{exits[0]}. With `--atol 1e-12`, which no float32 export holds, it exits {exits[1]} and says:

```text
{said}
```

## Every fault

{rows}

Written by `python benchmarks/peers.py --write docs/peers.md`; {made_with}.
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A run as it is shown to the checks."""

    name: str
    task: str
    stage: str
    run: Path


# ---- the faults, and what tunedeploy says


def shown(folder: Path) -> list[Shown]:
    """Two healthy runs, and a copy with each fault, hashes repaired."""
    tiny = Tiny(folder / "tiny")
    tiny.folder.mkdir()
    made: list[Shown] = []
    finished: dict[str, Finished] = {}
    for task in TASKS:
        (folder / task).mkdir()
        finished[task] = build(tiny, folder / task, task)
        made.append(Shown(name=f"{HEALTHY}{task}", task=task, stage="", run=finished[task].run))
    for name, fault in RUN_FAULTS.items():
        run = finished[fault.task].copy(folder / name).run
        fault.inject(run)
        repair_run(run)
        made.append(Shown(name=name, task=fault.task, stage=fault.stage, run=run))
    return made


def our_exit(run: Path) -> int:
    """The exit code of `tunedeploy verify`, hashes left aside."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            tunedeploy(["verify", str(run), "--checks", ",".join(SEMANTIC)])
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def looked_at(run: Path) -> str:
    """A digest of what a check of an export compares: the file's graph, the merged weights and their pooling."""
    model = onnx.load(run / FP32)
    del model.metadata_props[:]
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    for path in sorted((run / "merged").glob("*.safetensors")):
        digest.update(path.read_bytes())
    facts = json.loads((run / "merged" / "tunedeploy.json").read_text(encoding="utf-8"))
    digest.update(str(facts.get("pooling")).encode())
    return digest.hexdigest()


# ---- the peers


def environment(name: str, envs: Path) -> Path:
    """A peer's Python, its packages installed if they are not."""
    folder = envs / name
    stamp, wanted = folder / "installed.txt", "\n".join(REQUIREMENTS[name])
    python = folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"installing {', '.join(REQUIREMENTS[name])} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *REQUIREMENTS[name]], check=True)
        write_text(stamp, wanted)
    return python


def example_of(healthy: Shown) -> Path:
    """Two rows of unlike size of the evaluation split, as training encodes them: what an export is traced with."""
    run = Finished(recipe=healthy.run, run=healthy.run)
    recipe = api.recipe_of(run.run)
    encoder = encoder_of(recipe, run.rundir)
    path = healthy.run.parent / "example.npz"
    np.savez(path, **encoder.collate(encoder.encode(sample(data_of(recipe).eval, 2))))
    return path


def peer(name: str, python: Path, cases: Sequence[Shown], folder: Path) -> dict[str, Any]:
    """What a peer's judge answers."""
    examples = {one.task: str(example_of(one)) for one in cases if one.name.startswith(HEALTHY)}
    asked = {
        one.name: {
            "task": one.task,
            "merged": str(one.run / "merged"),
            "onnx": str(one.run / FP32),
            "example": examples[one.task],
        }
        for one in cases
    }
    question, answer = folder / f"{name}.cases.json", folder / f"{name}.result.json"
    write_text(question, json.dumps(asked))
    judge = Path(__file__).with_suffix("") / f"{name}_judge.py"
    log = folder / f"{name}.log"
    with log.open("w", encoding="utf-8") as said:
        command = [str(python), str(judge), str(question), str(answer)]
        done = subprocess.run(command, stdout=said, stderr=said, env=os.environ | CHEAP, check=False)
    if done.returncode:
        sys.exit(f"{judge.name}: exit {done.returncode}: {log.read_text(encoding='utf-8')[-2000:]}")
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


# ---- the table


def verdicts_of(all_shown: Sequence[Shown], answers: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Name to column to verdict."""
    table = {one.name: dict.fromkeys(COLUMNS, UNSEEN) for one in all_shown}
    for answer in answers:
        for name, columns in answer["verdicts"].items():
            table[name] |= {column: verdict for column, (verdict, _) in columns.items()}
    for one in all_shown:
        code = our_exit(one.run)
        table[one.name][OURS] = {0: PASSED, 3: STOPPED}.get(code, f"exit {code}")
    return table


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def summary(faults: Sequence[Shown], table: Mapping[str, Mapping[str, str]]) -> str:
    """Counts of each verdict, by the stage that is to blame."""
    groups = {what: [one.name for one in faults if one.stage == stage] for stage, what in STAGES.items()}
    groups["in reach of an export's check"] = [one.name for one in faults if table[one.name][OPTIMUM] != UNSEEN]
    groups["**all**"] = [one.name for one in faults]
    rows = []
    for what, names in groups.items():
        counts = [Counter(table[name][column] for name in names) for column in COLUMNS]
        cells = [" / ".join(str(one[kind]) for kind in (STOPPED, WARNED, PASSED, UNSEEN)) for one in counts]
        rows.append([what, str(len(names)), *cells])
    return markdown(["faults of", "faults", *COLUMNS], rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--envs", type=Path, default=Path.home() / ".cache" / "tunedeploy-peers")
    parser.add_argument("--write", type=Path, help="the page to write")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    pythons = {name: environment(name, options.envs.absolute()) for name in REQUIREMENTS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        everything = shown(folder)
        healthy = {one.task: looked_at(one.run) for one in everything if one.name.startswith(HEALTHY)}
        cases = [one for one in everything if not one.stage or looked_at(one.run) != healthy[one.task]]
        answers = {name: peer(name, python, cases, folder) for name, python in pythons.items()}
        table = verdicts_of(everything, answers.values())
    faults = [one for one in everything if one.stage]
    cells = [[one.name.replace("_", " "), one.stage, *table[one.name].values()] for one in everything]
    rows, counts = markdown(["fault", "stage", *COLUMNS], cells), summary(faults, table)
    print(rows, counts, sep="\n\n", flush=True)
    alarms = {
        one.name: table[one.name] for one in everything if not one.stage and {*table[one.name].values()} != {PASSED}
    }
    if alarms:
        sys.exit(f"not all checks pass the healthy runs: {alarms}")
    if options.write:
        write_text(options.write, page(len(faults), rows, counts, answers))
    missed = [one.name for one in faults if table[one.name][OURS] != STOPPED]
    sys.exit(f"tunedeploy does not stop {', '.join(missed)}" if missed else 0)


def page(count: int, rows: str, counts: str, answers: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/peers.md."""
    ours = versions()
    parts = [f"tunedeploy with torch {ours['torch']} and onnxruntime {ours['onnxruntime']}"]
    for answer in answers.values():
        parts.append(", ".join(f"{package} {at}" for package, at in answer["versions"].items()))
    return PAGE.format(
        count=count, summary=counts, rows=rows, checks=",".join(SEMANTIC), made_with="; ".join(parts), ours=OURS,
        optimum=OPTIMUM, verify=VERIFY, by_hand=BY_HAND, stopped=STOPPED, warned=WARNED, passed=PASSED, unseen=UNSEEN,
        exits=answers["optimum"]["command"]["exits"], said=answers["optimum"]["command"]["said"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
