"""A file dropped into an axis folder is a plug-in, and so is another package's entry point; nothing else is edited."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import Tiny
from tunedeploy import plugins
from tunedeploy.errors import RecipeError, UserError
from tunedeploy.recipe import read as recipe

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "datasets", "peft", "numpy")

DROPPED = {
    "tasks/spam_filter.py": '''"""Spam filter: whether a message is wanted."""

from tunedeploy.data.columns import Column
from tunedeploy.data.kinds.category import CATEGORY
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.tasks import text_classification

COLUMNS = (Column(key="text", kind=TEXT, guesses=("message",)), Column(key="label", kind=CATEGORY))


def __getattr__(name):
    """All else is as for any text."""
    return getattr(text_classification, name)
''',
    "methods/head_and_norms.py": '''"""Head and norms: the head and every LayerNorm learn, the rest is frozen."""

from torch import nn

from tunedeploy.models.classifier import freeze_trunk
from tunedeploy.recipe.read import Section

DEFAULTS = {"train.lr": 0.0123}
CACHES_FEATURES = False


class Options(Section):
    """Keys of `tune`."""

    norm_biases: bool = True  # half of what a norm can learn


def attach(assembly, options):
    """Let the head and the norms learn."""
    freeze_trunk(assembly)
    for module in assembly.model.trunk.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.requires_grad_(True)
            module.bias.requires_grad_(options.norm_biases)


def fold(model):
    """Nothing to fold."""
''',
    "objectives/small_head.py": '''"""Small head: pulls the head to zero."""

from tunedeploy.recipe.read import Section


class Options(Section):
    """Keys of `train`."""

    pull: float = 0.01


class Objective:
    """The penalty."""

    def __init__(self, model, fresh, options):
        self.names, self.pull = fresh, options.pull

    def __call__(self, model):
        """Added to the loss."""
        return self.pull * sum((one**2).sum() for name, one in model.named_parameters() if name in self.names)
''',
    "precisions/bf16.py": '''"""bfloat16 weights in a float32 file: tells what a bfloat16 device would answer."""

import numpy as np
import onnx

from tunedeploy.graphs import files as onnx_files
from tunedeploy.recipe.read import Section

FILE = "model_bf16.onnx"


class Options(Section):
    """Keys of `export`: none."""


def candidates(source, options, samples):
    """One way."""
    return [{"name": "bf16"}]


def convert(source, target, setting, samples):
    """Cut the mantissas."""
    model = onnx.load(source)
    for one in model.graph.initializer:
        if one.data_type == onnx.TensorProto.FLOAT:
            cut = (onnx.numpy_helper.to_array(one).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
            one.CopyFrom(onnx.numpy_helper.from_array(cut, one.name))
    onnx_files.write(model, target)
''',
    "targets/kiosk.py": '''"""Kiosk: a screen in a shop."""

from tunedeploy.targets.python import Options, breaches  # noqa: F401
''',
    "methods/needs_extra.py": '''"""Needs extra: a method that stands in a package which is not installed."""

import no_such_package
''',
    "methods/_not_a_plugin.py": '"""A helper of plug-ins is none."""\n',
}


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """A folder with a copy of the package and the files above in it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(checkout / "tunedeploy", folder / "tunedeploy", ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in DROPPED.items():
        (folder / "tunedeploy" / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with an installed package that offers two methods and says so in its entry points."""
    info = tmp_path / "acme_tuning-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tuning\nVersion: 1.0\n")
    points = "acme-slow = acme.slow\nacme_last = acme_last\nacme-gone = acme_gone.method\nlora = acme_last\n"
    (info / "entry_points.txt").write_text(f"[tunedeploy.methods]\n{points}")
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "__init__.py").write_text("raise RuntimeError('listing imported the package')\n")
    (tmp_path / "acme" / "slow.py").write_text('"""Acme slow: takes its time."""\nraise RuntimeError("imported")\n')
    code = "from tunedeploy.methods.last_layer import CACHES_FEATURES, DEFAULTS, Options, attach, fold  # noqa: F401\n"
    (tmp_path / "acme_last.py").write_text(f'"""Acme last: the last layer, by Acme."""\n\n{code}')
    return tmp_path


def python(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(path)}
    return subprocess.run([sys.executable, *arguments], cwd=path, env=environment, capture_output=True, text=True)


def listed(path: Path) -> dict[str, dict[str, str]]:
    done = python("-m", "tunedeploy", "list", "--json", path=path)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    assert set(found) == set(plugins.AXES)
    return found


def test_every_plugin_of_the_package_has_a_name_and_a_line_and_loads() -> None:
    assert [len(plugins.names(axis)) >= 1 for axis in plugins.AXES] == [True] * 5
    for axis in plugins.AXES:
        for name, line in plugins.names(axis).items():
            assert line.endswith((".", "decided")) and len(line) <= 120, f"{axis} {name}: {line!r}"
            assert "_" not in name
            assert plugins.load(axis, name).__doc__.splitlines()[0] == line


def test_a_dropped_file_is_listed_by_its_name_with_its_first_line(extended: Path) -> None:
    found = listed(extended)
    for file, content in DROPPED.items():
        axis, _, stem = file.removesuffix(".py").partition("/")
        if stem.startswith("_"):
            assert not [name for name in found[axis] if "plugin" in name]
        else:
            assert found[axis][stem.replace("_", "-")] == content.split('"""')[1].splitlines()[0]
    assert set(found["methods"]) == set(plugins.names("methods")) | {"head-and-norms", "needs-extra"}


@pytest.mark.slow
def test_a_recipe_uses_a_dropped_file_of_every_axis(extended: Path, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""\
task: spam-filter
model: {tiny["bert"]}
data: {{train: {tiny["texts"]}}}
tune: {{method: head-and-norms, norm_biases: false}}
train: {{epochs: 1, batch_size: 8, precision: fp32, objective: small-head, pull: 0.5}}
export: {{quantize: bf16, target: kiosk, max_drop: 100}}
""",
        encoding="utf-8",
    )
    run = tmp_path / "run"
    done = python("-m", "tunedeploy", "run", str(recipe), "--run", str(run), "--json", path=extended)
    assert done.returncode == 0, done.stderr[-3000:]
    resolved = (run / "recipe.yaml").read_text(encoding="utf-8")
    assert "lr: 0.0123  # default of head-and-norms" in resolved
    manifest = json.loads((run / "dist" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["task"], manifest["method"], manifest["target"]) == ("spam-filter", "head-and-norms", "kiosk")
    assert set(manifest["variants"]) == {"fp32", "bf16"}
    trained = json.loads((run / "stages" / "train.json").read_text(encoding="utf-8"))["result"]["weights"]
    assert trained["trainable"] == 5 * 32 + 3 * 32 + 3  # five norms of width 32, weights alone, and the head


def test_mistakes_in_a_dropped_files_keys_and_a_missing_package_are_one_line_each(
    extended: Path, tiny: Tiny, tmp_path: Path
) -> None:
    good = tiny.write(tmp_path / "good.yaml", "text-classification", tune={"method": "lora"})
    method = {
        "typo": "head-and-norms\n  norm_bias: true",
        "type": "head-and-norms\n  norm_biases: 3",
        "extra": "needs-extra",
    }
    for name, text in method.items():
        content = good.read_text().replace("method: lora", f"method: {text}")
        (tmp_path / f"{name}.yaml").write_text(content, encoding="utf-8")
    code = f"""
from pathlib import Path
from tunedeploy.recipe import read as recipe
from tunedeploy.errors import RecipeError
for name in ("good", "typo", "type", "extra"):
    try:
        recipe.read(Path({str(tmp_path)!r}, name + ".yaml"))
        print(name, "is read")
    except RecipeError as error:
        print(*error.lines, sep="\\n")
"""
    done = python("-c", code, path=extended)
    assert done.returncode == 0, done.stderr[-2000:]
    first, typo, kind, extra = done.stdout.splitlines()
    assert first == "good is read", "a plug-in that cannot be imported was in the way of another"
    assert "unknown key 'norm_bias' in tune; did you mean 'norm_biases'?" in typo
    assert "type.yaml:" in kind and "norm_biases" in kind
    assert "method 'needs-extra' needs the package 'no_such_package'" in extra


def test_an_entry_point_of_another_package_is_listed_without_import(outside: Path) -> None:
    found = listed(outside)["methods"]
    assert found["acme-slow"] == "Acme slow: takes its time."
    assert found["acme-last"] == "Acme last: the last layer, by Acme."
    assert found["acme-gone"] == ""
    assert found["lora"] == plugins.names("methods")["lora"], "an outside name took the place of our own"


def test_an_entry_point_of_another_package_is_loaded_and_used(outside: Path, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.write(tmp_path / "r.yaml", "text-classification", tune={"method": "lora"})
    recipe.write_text(recipe.read_text().replace("method: lora", "method: acme-last"), encoding="utf-8")
    code = (
        "from pathlib import Path; from tunedeploy import plugins; from tunedeploy.models import start;"
        "from tunedeploy.data.recipe_data import data_of;"
        "from tunedeploy.recipe import read as recipe;"
        f"made = recipe.read(Path({str(recipe)!r}));"
        "names = [n for n, p in start.attached(made, data_of(made)).model.named_parameters() if p.requires_grad];"
        "print(plugins.load('methods', 'acme-last').__name__, made.sources['train.epochs'], *names, sep='|')"
    )
    (outside / "acme" / "slow.py").unlink()
    (outside / "acme_tuning-1.0.dist-info" / "entry_points.txt").write_text(
        "[tunedeploy.methods]\nacme_last = acme_last\n"
    )
    done = python("-c", code, path=outside)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "acme_last|recipe:7|head.weight|head.bias"


def test_an_entry_point_whose_package_is_gone_is_one_line(outside: Path) -> None:
    code = "from tunedeploy import plugins; plugins.load('methods', 'acme-gone')"
    done = python("-c", code, path=outside)
    assert done.stderr.splitlines()[-1].endswith(
        "method 'acme-gone' needs the package 'acme_gone'; install it with 'pip install acme_gone'"
    )


def test_help_and_list_import_nothing_heavy_and_no_plugin(outside: Path) -> None:
    for arguments in (["--help"], ["list"]):
        code = (
            "import sys\nfrom tunedeploy.cli.commands import main\n"
            f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n"
            "    assert not end.code\nprint('LOADED', *sys.modules)"
        )
        done = python("-c", code, path=outside)
        assert done.returncode == 0, done.stderr
        loaded = set(done.stdout.rpartition("LOADED")[2].split())
        assert not loaded & {*HEAVY, "acme", "acme_last"}
        assert not [name for name in loaded if name.startswith(tuple(f"tunedeploy.{axis}" for axis in plugins.AXES))]


def test_a_name_that_is_none_is_told_with_those_there_are() -> None:
    with pytest.raises(UserError) as raised:
        plugins.load("methods", "lorra")
    assert str(raised.value) == f"no method 'lorra'; known: {', '.join(plugins.names('methods'))}"


def numbers(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number in a JSON Schema, with its place."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if isinstance(node, dict) and node.get("type") in ("number", "integer"):
        yield path, node
    for name, child in children:
        yield from numbers(child, f"{path}/{name}")


def test_every_number_of_every_plugin_has_a_bound_so_that_a_wrong_unit_does_not_train() -> None:
    found = dict(numbers(recipe.schema()))
    assert len(found) >= 20
    assert any("rank" in path for path in found)
    assert not [path for path, one in found.items() if not {"minimum", "exclusiveMinimum"} & one.keys()]


def test_a_mean_of_values_in_0_to_255_and_a_zero_spread_are_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "task: image-classification\nmodel: torchvision://resnet18\n"
        "data: {train: a/b, mean: [127.5, 0.5, 0.5], std: [0.5, 0, 0.5]}\n"
    )
    with pytest.raises(RecipeError) as caught:
        recipe.read(path, ())
    assert [line.partition(": ")[2] for line in caught.value.lines] == [
        "data.mean: must be at most 1, not 127.5",
        "data.std: must be greater than 0, not 0",
    ]
