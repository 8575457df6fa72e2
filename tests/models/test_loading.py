"""What others wrote is read and never run, and whatever is wrong with it is one line."""

import ast
import errno
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from tests.conftest import CHECKOUT
from tests.tiny import Tiny, base_of
from tunedeploy.cli.commands import main
from tunedeploy.data.recipe_data import data_of
from tunedeploy.errors import ModelError
from tunedeploy.models import loading
from tunedeploy.models.loading import check_counts, first_line, foreign
from tunedeploy.proof import preflight

CODE = """
from pathlib import Path
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, ViTImageProcessor

(Path(__file__).parent / "ran").write_text("")
Path({place!r}).write_text("")


class OwnConfig(BertConfig):
    model_type = "own"


class OwnModel(BertModel):
    config_class = OwnConfig


class OwnTokenizer(PreTrainedTokenizerFast):
    pass


class OwnProcessor(ViTImageProcessor):
    pass
"""
CONFIG, MODEL = {"AutoConfig": "own.OwnConfig"}, {"AutoModel": "own.OwnModel"}
TOKENIZER = {"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"]}
# What each folder says of its own code, and whether transformers has a class that takes its place.
FOLDERS: dict[str, tuple[str, dict[str, dict[str, Any]], bool]] = {
    "config": ("bert", {"config.json": {"model_type": "own", "auto_map": CONFIG | MODEL}}, False),
    "model": ("bert", {"config.json": {"auto_map": MODEL}}, True),
    "tokenizer": (
        "bert",
        {
            "tokenizer_config.json": {"tokenizer_class": "OwnTokenizer", "auto_map": TOKENIZER},
            "config.json": {"auto_map": TOKENIZER},
        },
        True,
    ),
    "image model": ("resnet", {"config.json": {"model_type": "own", "auto_map": CONFIG | MODEL}}, False),
    "image processor": (
        "resnet",
        {
            "preprocessor_config.json": {
                "image_processor_type": "OwnProcessor",
                "auto_map": {"AutoImageProcessor": "own.OwnProcessor"},
            }
        },
        True,
    ),
}


def armed(tiny: Tiny, folder: Path, name: str) -> tuple[Path, Path]:
    """A recipe on a folder with code of its own, and the file which that code would write."""
    base, edits, _ = FOLDERS[name]
    model = Path(shutil.copytree(tiny[base], folder / "model"))
    (model / "own.py").write_text(CODE.format(place=str(folder / "ran")), encoding="utf-8")
    for file, values in edits.items():
        path = model / file
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")
    task = "text-classification" if base == "bert" else "image-classification"
    return tiny.write(folder / "r.yaml", task, model=str(model)), folder / "ran"


@pytest.mark.parametrize("name", FOLDERS)
def test_code_of_a_model_folder_never_runs_whatever_stdin_says(
    name: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, ran = armed(tiny, tmp_path, name)
    answers = io.StringIO("y\n" * 50)
    monkeypatch.setattr(sys, "stdin", answers)
    with pytest.raises(SystemExit) as end:
        main(["plan", str(recipe), "--json"])
    out, err = capsys.readouterr()
    assert not ran.exists() and not (tmp_path / "model" / "ran").exists()
    assert answers.tell() == 0
    problems = [line for line in err.splitlines() if line.startswith("error: ")]
    if FOLDERS[name][2]:
        assert end.value.code == 0
        assert json.loads(out)["decided"]
    else:
        assert (end.value.code, out, len(problems)) == (1, "", 1)
        assert "needs code of its own (auto_map), which is never run" in problems[0]


def test_a_command_with_a_pipe_of_yes_reads_none_of_it_and_prints_nothing(tiny: Tiny, tmp_path: Path) -> None:
    recipe, ran = armed(tiny, tmp_path, "config")
    answers = tmp_path / "answers"
    answers.write_text("y\n" * 50, encoding="utf-8")
    with answers.open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "tunedeploy", "plan", str(recipe), "--json"],
            stdin=stdin, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert os.lseek(stdin.fileno(), 0, os.SEEK_CUR) == 0
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("error: ") == 1
    assert not ran.exists()


LOADERS = {"from_pretrained", "from_config"}
THE_ONE = "tunedeploy/models/loading.py"


def complaints(name: str, text: str) -> Iterator[str]:
    """Where a module may run code that a file brings: line and what it does."""
    for node in ast.walk(ast.parse(text)):
        modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        if any(one.split(".")[0] in ("pickle", "dill", "cloudpickle", "joblib", "marshal") for one in modules):
            yield f"{name}:{node.lineno}: imports {modules[0]}"
        if isinstance(node, ast.Attribute) and node.attr in LOADERS and name != THE_ONE:
            yield f"{name}:{node.lineno}: {node.attr} outside {THE_ONE}"
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        given = {one.arg: ast.unparse(one.value) for one in node.keywords}
        if node.func.attr in LOADERS and given.get("trust_remote_code") != "False":
            yield f"{name}:{node.lineno}: {node.func.attr} without trust_remote_code=False"
        if ast.unparse(node.func) == "torch.load" and given.get("weights_only") != "True":
            yield f"{name}:{node.lineno}: torch.load without weights_only=True"
        if given.get("allow_pickle", "False") != "False" or ast.unparse(node.func).startswith("torch.hub"):
            yield f"{name}:{node.lineno}: {ast.unparse(node.func)} may run code"


def test_one_module_opens_models_and_nothing_unpickles(checkout: Path) -> None:
    files = sorted((checkout / "tunedeploy").rglob("*.py"))
    assert len(files) > 80
    texts = {path.relative_to(checkout).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert ".from_pretrained(" in texts[THE_ONE]
    assert [line for name, text in texts.items() for line in complaints(name, text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "AutoModel.from_pretrained(name, trust_remote_code=False)",  # in another module
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "import pickle",
        "from pickle import loads",
        "numpy.load(path, allow_pickle=True)",
        "torch.hub.load(name)",
    ],
)
def test_the_rule_sees_a_module_that_could_run_code(text: str) -> None:
    assert list(complaints("tunedeploy/other.py", text))


def test_the_rule_sees_a_loader_that_would_ask() -> None:
    assert list(complaints(THE_ONE, "AutoModel.from_pretrained(name)"))
    assert not list(complaints(THE_ONE, "AutoModel.from_pretrained(name, trust_remote_code=False)"))


@pytest.mark.parametrize(
    ("model", "file", "key", "value", "line"),
    [
        ("bert", "config.json", "hidden_size", 10**6, r"asks for more than .* GB of memory; name a smaller model"),
        ("bert", "config.json", "num_hidden_layers", 10**5, "asks for over 20,000 tensors"),
        ("bert", "config.json", "num_hidden_layers", 10**12, "num_hidden_layers is 1000000000000, and no model has so"),
        ("bert", "config.json", "num_attention_heads", "x", "cannot be loaded: [A-Z][A-Za-z]+: "),
        ("bert", "config.json", "vocab_size", 7, "cannot be loaded|its tokenizer has ids up to"),
        ("bert", "tokenizer_config.json", "model_max_length", "long", "the length of its texts is not a number"),
        (
            "vit",
            "preprocessor_config.json",
            "size",
            {"height": 10**6, "width": 10**6},
            "size: expected 1 to 4096 pixels",
        ),
        ("vit", "preprocessor_config.json", "image_std", [0, 1, 1], "std: 0 is not a spread"),
        ("vit", "preprocessor_config.json", "size", ["x"], "does not say how images are prepared: "),
    ],
)
def test_settings_that_no_model_has_are_one_line_before_memory_is_taken(  # noqa: PLR0913 - one file's one damage
    model: str, file: str, key: str, value: Any, line: str, tiny: Tiny, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny[model], tmp_path / "model"))
    content = json.loads((folder / file).read_text(encoding="utf-8")) | {key: value}
    (folder / file).write_text(json.dumps(content), encoding="utf-8")
    task = "text-classification" if model == "bert" else "image-classification"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=line) as caught:
        base_of(tiny.recipe(tmp_path / "r.yaml", task, model=str(folder)))
    assert len(caught.value.lines) == 1 and "\n" not in caught.value.lines[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


@pytest.mark.parametrize(
    "settings",
    [
        {"train_tokens_seen": 300_000_000_000, "seed": 4_135_216_803, "made": {"unix_time": 1_700_000_000}},
        {"rope_theta": 10**9, "dataset": {"bytes": 10**12, "rows": [10**9]}},
    ],
    ids=str,
)
def test_a_large_number_that_is_no_setting_of_the_architecture_is_not_refused(
    settings: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny["bert"], tmp_path / "model"))
    content = json.loads((folder / "config.json").read_text(encoding="utf-8")) | settings
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    check_counts(folder / "config.json")
    base_of(tiny.recipe(tmp_path / "r.yaml", "text-classification", model=str(folder)))


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "bert", "num_labels": 10**9},
        {"model_type": "gpt2", "n_layer": 10**9},  # under its own name
        {"model_type": "gpt2", "num_hidden_layers": 10**9},  # and under the common one
        {"model_type": "clip", "vision_config": {"num_hidden_layers": 10**9}},
        {"hidden_sizes": [8, 10**9]},  # no architecture named: any of them may be meant
    ],
    ids=str,
)
def test_a_count_of_the_architecture_that_no_model_has_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ModelError, match="is 1000000000, and no model has so many"):
        check_counts(tmp_path / "config.json")


def panic() -> None:
    """As the tokenizers package raises it: no Exception."""
    raise type("PanicException", (BaseException,), {})("index out of bounds")


THEIR_ERRORS: dict[str, Callable[[], Any]] = {
    "a model that lacks a file": lambda: AutoConfig.from_pretrained("/nowhere", trust_remote_code=False),
    "a shape that does not fit": lambda: torch.zeros(2, 3) @ torch.zeros(2, 3),
    "an error of json": lambda: json.loads("{"),
    "a panic": panic,
}


@pytest.mark.parametrize("name", THEIR_ERRORS)
def test_what_others_code_raises_is_a_model_error_of_one_line(name: str) -> None:
    line = "^model 'a' cannot be loaded: [A-Z]"
    with pytest.raises(ModelError, match=line) as caught, foreign("model 'a' cannot be loaded"):
        THEIR_ERRORS[name]()
    assert len(caught.value.lines) == 1


OWN_ERRORS = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    PermissionError(errno.EACCES, os.strerror(errno.EACCES), "model/config.json"),
    MemoryError(),
    KeyError("a bug of ours"),
    AttributeError("a bug of ours"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", OWN_ERRORS, ids=lambda error: type(error).__name__)
def test_a_full_disk_the_end_of_memory_and_our_own_bugs_keep_their_kind(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PACKAGE", Path(__file__).parent)  # so that this file is ours
    with pytest.raises(type(error)) as caught, foreign("model 'a' cannot be loaded"):
        raise error
    assert caught.value is error


def test_the_end_of_memory_that_torch_tells_in_words_is_one() -> None:
    with pytest.raises(MemoryError, match="DefaultCPUAllocator"), foreign("model 'a' cannot be run"):
        torch.empty(2**55, dtype=torch.uint8)


def test_a_bug_of_ours_while_planning_keeps_its_traceback(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not "model: cannot be run", which sends its user to look for another model."""
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification")
    assembly, data = base_of(recipe), data_of(recipe)
    monkeypatch.setattr(type(assembly.encoder), "collate", lambda *_: {}["a bug of ours"])
    monkeypatch.setattr(loading, "PACKAGE", CHECKOUT)  # the line above counts as ours
    with pytest.raises(KeyError, match="a bug of ours"):
        preflight.check_independence(recipe, assembly, data.train)


def test_a_file_of_the_model_that_may_not_be_read_is_one_line_that_names_it(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.write(tmp_path / "r.yaml", "text-classification")

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "model/model.safetensors")

    monkeypatch.setattr(loading.AutoModel, "from_pretrained", refused)
    with pytest.raises(SystemExit) as caught:
        main(["plan", str(recipe)])
    assert caught.value.code == 1
    line = "model/model.safetensors: Permission denied; free space, or name a place that can be written"
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith(line)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("Cannot find a compatible overload for aten.sub. Tried overloads:\nOverload name Tensor:", "Cannot find a "
         "compatible overload for aten.sub"),
        ("expected one of:\n a\n b", "expected one of"),
        ("\x1b[96mDoes not fit.\x1b[0m\nmore", "Does not fit"),
        ("a  b ;", "a b"),
        ("", "ValueError"),
        ("x" * 300, "x" * 200 + "..."),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_message_of_others_is_one_clean_sentence(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line


def test_a_tokenizer_of_another_model_is_refused_before_a_row_breaks_the_training(tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny["bert"], tmp_path / "model"))
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["added_tokens"].append({**content["added_tokens"][0], "id": 94, "content": "[FAR]"})
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match="its tokenizer has ids up to 94, its embeddings 94 rows"):
        base_of(tiny.recipe(tmp_path / "r.yaml", "text-classification", model=str(folder)))
