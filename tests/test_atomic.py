"""Whatever is killed, at whatever file operation, leaves the old or the new, and the next command clears up."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tests.finished import Finished
from tests.fuzz import ended
from tests.killing import killed_at
from tunedeploy import api
from tunedeploy.device.files import files_below, sha256
from tunedeploy.errors import RunError
from tunedeploy.run import atomic, pipeline
from tunedeploy.run.atomic import (
    discard,
    disk_errors,
    reserve,
    scratch_folder,
    sweep,
    whole_folder,
    write_array,
    write_text,
)
from tunedeploy.run.folder import RunDir
from tunedeploy.training import checkpoint

Content = dict[str, str]


def content(folder: Path) -> Content:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files_below(folder)}


def made(word: str) -> Content:
    return {"manifest.json": word, "onnx/model.onnx": word * 3, f"only_{word}": word}


def fill(folder: Path, word: str) -> None:
    with whole_folder(folder) as beside:
        for name, text in made(word).items():
            (beside / name).parent.mkdir(exist_ok=True)
            (beside / name).write_text(text)


@pytest.fixture(params=["exchanged", "renamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By the system's exchange of two names, and without it."""
    if request.param == "renamed":
        monkeypatch.setattr(atomic, "exchange", lambda first, second: False)
    elif atomic.renameat2() is None:
        pytest.skip("this system cannot exchange two folders")
    return str(request.param)


def test_a_folder_replaced_is_the_old_or_the_new_after_a_kill_at_any_operation(way: str, tmp_path: Path) -> None:
    for number in count():
        path = tmp_path / str(number) / "out"
        fill(path, "old")
        killed = killed_at(number, lambda path=path: fill(path, "new"))
        if way == "renamed":
            sweep(path.parent, path.name)  # what the next command begins with
        assert content(path) in ([made("old"), made("new")] if killed else [made("new")]), number
        fill(path, "new")
        assert content(path) == made("new")
        assert [one.name for one in path.parent.iterdir()] == ["out"]
        if not killed:
            break
    assert number >= 10


def test_an_array_is_the_old_or_the_new_after_a_kill_at_any_operation(tmp_path: Path) -> None:
    for number in count():
        path = tmp_path / str(number) / "logits.npy"
        write_array(path, np.zeros(3))
        killed = killed_at(number, lambda path=path: write_array(path, np.ones(5)))
        assert np.load(path).tolist() in ([[0.0] * 3, [1.0] * 5] if killed else [[1.0] * 5])
        sweep(path.parent)
        assert [one.name for one in path.parent.iterdir()] == ["logits.npy"]
        if not killed:
            break
    assert number >= 3


def test_what_was_tried_beside_a_file_is_gone_whatever_ends_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path / "new" / "attempt") as beside:
        assert atomic.TEMPORARY.fullmatch(beside.name)  # what `sweep` clears away after a kill
        (beside / "model.onnx").write_text("half")
        raise KeyboardInterrupt
    assert files_below(tmp_path) == []
    with scratch_folder(tmp_path / "attempt") as beside:
        (beside / "model.onnx").write_text("whole")
        (beside / "model.onnx").replace(tmp_path / "model.onnx")
    assert content(tmp_path) == {"model.onnx": "whole"}


def bundling() -> ModuleType:
    """A bundle stage that takes a millisecond."""
    stage: Any = ModuleType("tests.bundle")
    stage.OUTPUTS = ("dist",)
    stage.run = lambda recipe, rundir: fill(rundir / "dist", "new") or {"files": {}}
    return stage


def export(run: RunDir, output: Path) -> None:
    with pipeline.held(run, main=True):
        pipeline.run_stage(bundling(), None, run, key="new", main=True)  # type: ignore[arg-type]
    api.place(run.path, output)


def test_an_export_leaves_the_old_bundle_or_the_new_after_a_kill_at_any_operation(tmp_path: Path) -> None:
    seen = set()
    for number in count():
        run, output = RunDir(tmp_path / str(number) / "run"), tmp_path / str(number) / "app" / "model"
        fill(run / "dist", "old")
        fill(output, "old")
        run.finish("bundle", key="old", seconds=0, files=files_below(run / "dist"), result={"files": {}})
        killed = killed_at(number, lambda run=run, output=output: export(run, output))
        there = [content(run / "dist"), content(output)]
        assert all(one in (made("old"), made("new")) for one in there), number
        if run.has("bundle"):  # a record speaks of the bundle that is there
            assert not run.changed(run.record("bundle")), number
            assert run.record("bundle").key == ("new" if there[0] == made("new") else "old"), number
        seen.add((there[0] == made("new"), there[1] == made("new"), run.has("bundle")))
        export(run, output)
        assert content(run / "dist") == content(output) == made("new")
        names = {path.relative_to(run.path.parent).as_posix() for path in files_below(run.path.parent)}
        assert not [name for name in names if atomic.TEMPORARY.search(name)], number
        if not killed:
            break
    assert number >= 25
    assert seen == {(False, False, True), (False, False, False), (True, False, False), (True, False, True),
                    (True, True, True)}  # fmt: skip


def test_a_checkpoint_is_there_after_a_kill_at_any_operation(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()

    def save(folder: Path, step: int) -> None:
        state = {"state": {"weight": torch.full((2,), float(step))}}
        checkpoint.save(folder, state, optimizer, {"key": "k", "course": step})

    for number in count():
        folder = tmp_path / str(number)
        for step in (1, 2, 3):
            save(folder, step)
        killed = killed_at(number, lambda folder=folder: save(folder, 4))
        kept = list(checkpoint.readable(folder, key="k"))
        assert all(isinstance(one, checkpoint.Checkpoint) for one in kept), number
        steps = [one.meta["course"] for one in kept if isinstance(one, checkpoint.Checkpoint)]
        assert steps in ([3, 2], [4, 3, 2], [4, 3]), number
        assert all(float(one.groups["state"]["weight"][0]) == step for one, step in zip(kept, steps, strict=True))
        save(folder, 5)
        assert [path.name for path in checkpoint.numbered(folder)] == [f"{steps[0] + 1:06d}", f"{steps[0]:06d}"]
        if not killed:
            break
    assert number >= 8
    assert steps == [4, 3]


def test_files_and_folders_are_on_the_disk_before_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def noted(number: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        synced.append(path.name if not atomic.TEMPORARY.fullmatch(path.name) else "beside")
        real(number)

    monkeypatch.setattr(os, "fsync", noted)
    fill(tmp_path / "out", "new")
    assert synced[-1] == tmp_path.name
    assert set(synced[:-1]) == {"manifest.json", "model.onnx", "only_new", "onnx", "beside"}
    synced.clear()
    write_text(tmp_path / "file", "text")
    assert synced == ["beside", tmp_path.name]


# ---- what is left over


def test_what_killed_commands_left_is_swept_when_the_run_is_held(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    for name in (".model.onnx.1.tmp", "train/.checkpoint.1.tmp/state", "cache/features/.eval.npy.77.tmp"):
        write_text(run / name, "half")
    write_text(run / ".merged.1.old" / "config.json", "whole")
    for name in (".hidden", "cache/features/eval.npy", ".tmp"):
        write_text(run / name, "kept")
    with pipeline.held(run, main=True):
        there = {path.relative_to(run.path).as_posix() for path in files_below(run.path)}
    assert there == {".hidden", ".tmp", "cache/features/eval.npy", "merged/config.json", ".lock"}


def test_what_a_living_command_writes_elsewhere_is_not_swept(tmp_path: Path) -> None:
    other = tmp_path / f".out.{os.getppid()}.tmp"
    other.mkdir()
    fill(tmp_path / "out", "new")
    assert other.is_dir()


def test_nothing_is_left_of_a_discarded_folder(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    discard(tmp_path / "out")
    discard(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# ---- links, mount points, full disks


def test_of_a_link_the_folder_that_it_leads_to_is_replaced(tmp_path: Path) -> None:
    fill(tmp_path / "deep" / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "real")
    fill(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "deep" / "real") == made("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "link"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of three megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no small disk here: mounting one needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_bundle_does_not_take_the_place_of_a_mount_point(small_disk: Path) -> None:
    with pytest.raises(RunError, match="is a mount point, which a bundle cannot replace; name a folder inside it"):
        api.check_output(small_disk)
    api.check_output(small_disk / "inside")


def test_a_sparse_file_that_the_disk_has_no_room_for_is_an_error_with_its_name(small_disk: Path) -> None:
    path = small_disk / "features.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(2000, 1000))
    with pytest.raises(OSError, match="No space left on device") as raised:
        reserve(path)
    assert raised.value.filename == str(path)


def test_a_file_that_has_its_room_keeps_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "some.npy", np.arange(400_000))
    before = sha256(tmp_path / "some.npy")
    reserve(tmp_path / "some.npy")
    assert sha256(tmp_path / "some.npy") == before
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    reserve(tmp_path / "some.npy")
    assert sha256(tmp_path / "some.npy") == before


def test_a_full_disk_names_the_place_whoever_writes(small_disk: Path) -> None:
    from safetensors.torch import save_file

    big = small_disk.parent / "big"
    big.write_bytes(bytes(5_000_000))
    (small_disk.parent / "tree").mkdir()
    shutil.copyfile(big, small_disk.parent / "tree" / "big")

    writers = {
        "safetensors": lambda path: save_file({"a": torch.zeros(2_000_000)}, path / "a.safetensors"),
        "numpy": lambda path: np.save(path / "a.npy", np.zeros(1_000_000)),
        "copytree": lambda path: shutil.copytree(small_disk.parent / "tree", path, dirs_exist_ok=True),
        "write": lambda path: (path / "a").write_bytes(bytes(5_000_000)),
    }
    for name, write in writers.items():
        with pytest.raises(OSError) as raised, whole_folder(small_disk / "out") as folder:
            write(folder)
        assert raised.value.filename == str(small_disk / "out"), name
        assert raised.value.strerror, name
        assert list(small_disk.iterdir()) == [], name


@pytest.mark.parametrize("free_kb", [0, 12, 60, 200])
@pytest.mark.parametrize("command", ["export", "run"])
def test_a_command_on_a_full_disk_ends_in_one_line(
    command: str, free_kb: int, small_disk: Path, finished: Callable[[str], Finished]
) -> None:
    copy = finished("text-classification").copy(small_disk / "r")
    with (small_disk / "filler").open("wb") as file:
        file.write(bytes(shutil.disk_usage(small_disk).free - free_kb * 1024))
    if command == "export":  # another int8 file
        ending = ended(["export", str(copy.run), "--max-drop", "77"])
    else:  # features, a head, and all after it
        ending = ended(["run", str(copy.recipe), "tune.method=last-layer", "--run", str(copy.run)])
    assert ending == "refused"
    assert not [path for path in small_disk.rglob("*") if atomic.TEMPORARY.fullmatch(path.name)]


def test_an_error_that_is_not_the_disk_s_passes(tmp_path: Path) -> None:
    for error in (ValueError("x"), RunError("a line (os error 28)"), KeyError("x")):
        with pytest.raises(type(error)), disk_errors(tmp_path):
            raise error
