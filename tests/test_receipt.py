"""A command that has nothing to do says so at once, and only where nothing has been touched, however it was touched."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.finished import Finished
from tests.tiny import Tiny
from tunedeploy import api, progress
from tunedeploy.run import pipeline, receipt
from tunedeploy.run.atomic import write_text

HEAVY = {"torch", "peft", "transformers", "datasets", "sklearn", "onnx"}
LIMIT_S = 2.0  # of CPU time, so that a busy machine does not fail it


@pytest.fixture
def run(text_run: Finished, tiny: Tiny) -> Finished:
    """A run with data of its own that was asked for twice, so that it has a receipt."""
    rows = text_run.recipe.with_name("rows.csv")
    text = text_run.recipe.read_text(encoding="utf-8")
    place = next(line.split(": ")[1] for line in text.splitlines() if line.strip().startswith("train: "))
    shutil.copyfile(place, rows)
    text_run.recipe.write_text(text.replace(place, str(rows)), encoding="utf-8")
    assert api.through(text_run.recipe, run=text_run.run, until="report") == text_run.run
    return text_run


def at_once(run: Finished, *overrides: str) -> bool:
    """Whether the command is answered by its receipt."""
    return pipeline.is_finished(run.rundir, receipt.command_of(run.recipe, overrides, "report"))


def test_a_command_with_nothing_to_do_loads_nothing_heavy_and_takes_under_two_seconds(run: Finished) -> None:
    code = (
        "import sys\nfrom tunedeploy.cli.commands import main\n"
        f"try:\n    main(['run', {str(run.recipe)!r}, '--run', {str(run.run)!r}])\nexcept SystemExit as end:\n"
        "    assert not end.code, end.code\nprint('LOADED', *sys.modules)"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert "comparisons held" in done.stdout
    assert [line.split(":")[0] for line in done.stderr.splitlines() if "unchanged, kept" in line] == list(
        pipeline.STAGES
    )
    assert not HEAVY & set(done.stdout.rpartition("LOADED")[2].split())
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    assert spent < LIMIT_S


def changed_data(run: Finished) -> None:
    path = run.recipe.with_name("rows.csv")
    path.write_bytes(path.read_bytes().replace(b"soup", b"rice", 1))


def changed_recipe(run: Finished) -> None:
    run.recipe.write_text(run.recipe.read_text().replace("max_drop: 100.0", "max_drop: 101.0"))


def changed_file(run: Finished) -> None:
    path = run.run / "onnx" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def changed_record(run: Finished) -> None:
    (run.run / "stages" / "merge.json").write_text("{}")


def missing_file(run: Finished) -> None:
    (run.dist / "labels.json").unlink()


CHANGES = [changed_data, changed_recipe, changed_file, changed_record, missing_file]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_was_touched_is_seen_also_with_its_old_size_and_time(
    change: Callable[[Finished], None], run: Finished
) -> None:
    assert at_once(run)
    times = {path: path.stat() for path in run.recipe.parent.rglob("*") if path.is_file() and path.name != ".lock"}
    change(run)
    for path, stat in times.items():
        if path.exists():
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not at_once(run)


def test_another_command_is_not_answered(run: Finished) -> None:
    assert not at_once(run, "train.lr=0.02")
    assert not pipeline.is_finished(run.rundir, receipt.command_of(run.recipe, (), "train"))


def distribution(folder: Path, name: str, version: str, entry_points: str = "") -> None:
    """Install a distribution into a folder of sys.path, as pip would."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_another_package_or_another_version_of_it_is_seen(
    run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert at_once(run)
    site = tmp_path / "site"
    distribution(site, "pillow_heif_like", "1.0")
    monkeypatch.syspath_prepend(str(site))
    assert not at_once(run)
    first = receipt.command_of(run.recipe, (), "report")
    (site / "pillow_heif_like-1.0.dist-info").rename(tmp_path / "away")
    distribution(site, "pillow_heif_like", "1.1")
    importlib.invalidate_caches()
    assert receipt.command_of(run.recipe, (), "report") != first


def test_an_edited_plug_in_of_another_package_is_seen(
    run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    distribution(site, "my_plug_in", "1.0", "[tunedeploy.methods]\nmine = my_plug_in.inner.mine\n")
    module = site / "my_plug_in" / "inner" / "mine.py"
    module.parent.mkdir(parents=True)
    for path in (module, site / "my_plug_in" / "part.py"):
        path.write_text('"""Mine."""\n')
    monkeypatch.syspath_prepend(str(site))
    before = receipt.command_of(run.recipe, (), "report")
    assert before == receipt.command_of(run.recipe, (), "report")
    (site / "my_plug_in" / "part.py").write_text('"""Mine too."""\n')
    assert receipt.command_of(run.recipe, (), "report") != before


def test_an_edited_file_of_tunedeploy_is_seen(run: Finished, tmp_path: Path) -> None:
    code = "from pathlib import Path; from tunedeploy.run import receipt; print(receipt.command_of(Path('r'), (), ''))"
    package = shutil.copytree(Path(pipeline.__file__).parents[1], tmp_path / "copy" / "tunedeploy")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "copy")}

    def command() -> str:
        return subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment, cwd=tmp_path
        ).stdout

    before = command()
    assert before == command()
    (package / "methods" / "dropped.py").write_text('"""A file dropped in."""\n')
    assert command() != before


def test_a_copy_is_not_answered_by_the_original_s_receipt(run: Finished, tmp_path: Path) -> None:
    shutil.copytree(run.run, tmp_path / "copy")
    copy = Finished(recipe=run.recipe, run=tmp_path / "copy")
    changed_file(copy)
    assert at_once(run)
    assert not at_once(copy)


def test_a_folder_of_class_folders_is_told_by_its_files_and_one_with_a_table_is_not(
    image_run: Finished, tmp_path: Path
) -> None:
    classes = Path(api.recipe_of(image_run.run).data.train)
    for split in ("train", "val"):
        shutil.copytree(classes, tmp_path / "splits" / split)
    photo = next(classes.rglob("*.png"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text(f"image,label\n{photo},red\n{photo},blue\n")

    def inputs(*data: str) -> list[Path] | None:
        return pipeline.inputs_of(api.recipe_of(image_run.run, [f"data.{setting}" for setting in data]))

    assert (inputs() or [None])[0] == classes
    assert (inputs(f"train={tmp_path / 'splits'}", "eval=val") or [None])[0] == tmp_path / "splits"
    assert inputs(f"train={classes}", "eval=owner/name") is None
    assert inputs(f"train={tmp_path / 'splits'}", "eval=owner/name") is None
    assert inputs(f"train={tmp_path / 'set'}") is None
    assert inputs(f"train={classes}", f"eval={tmp_path / 'set'}") is None


class Editor:
    """A listener that edits the data when it hears of the first stage."""

    def __init__(self, run: Finished) -> None:
        self.run = run

    def note(self, text: str) -> None:
        if text.startswith("plan:"):
            changed_data(self.run)

    def update(self, name: str, done: float, total: float, text: str) -> None: ...


def test_data_that_was_edited_meanwhile_leaves_no_receipt(run: Finished) -> None:
    (run.run / receipt.FILE).unlink()
    with progress.listen(Editor(run)):
        api.through(run.recipe, run=run.run, until="report")
    assert not at_once(run)
    assert not (run.run / receipt.FILE).exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"run": 1}', "\x00", '{"paths": [3]}'])
def test_a_damaged_receipt_is_none(content: str, run: Finished) -> None:
    write_text(run.run / receipt.FILE, content)
    assert not at_once(run)
