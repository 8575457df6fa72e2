"""Whose bundle this is: its id, which changes with any byte of any file, and an ed25519 signature."""

import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.finished import Finished, edit_json, repair_bundle
from tests.killing import killed_at
from tests.test_cli import Command
from tests.test_cli import tunedeploy as tunedeploy  # a fixture
from tunedeploy import api
from tunedeploy.device.files import read_json, sha256
from tunedeploy.errors import ParityError, RunError, UsageError
from tunedeploy.proof.bundle import Bundle


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public key."""
    pytest.importorskip("cryptography", reason="cryptography is not installed; 'make test' installs it")
    return make_keys(tmp_path, "a")


def make_keys(folder: Path, name: str, kind: str = "ed25519") -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    key: Any = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(
        key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    )  # fmt: skip
    public.write_bytes(key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo))
    return private, public


# ---- the id


def test_the_id_is_the_hash_of_the_manifest(text_run: Finished) -> None:
    assert Bundle(text_run.dist).id == sha256(text_run.dist / "manifest.json")


def test_export_and_run_tell_the_id(text_run: Finished, tunedeploy: Command) -> None:
    known = sha256(text_run.dist / "manifest.json")
    assert tunedeploy("export", text_run.run, "--quantize", "int8", "--json").document["bundle_id"] == known
    done = tunedeploy("export", text_run.run, "--quantize", "int8")
    assert done.out.splitlines()[-2:] == [f"bundle id: {known}", f"bundle: {text_run.dist}"]


def test_the_expected_bundle_holds_by_its_id_or_the_beginning_of_it(text_run: Finished) -> None:
    known = Bundle(text_run.dist).id
    for expected in (known, known[:12], known[:20].upper()):
        assert all(one.ok for one in api.comparisons_of(text_run.dist, expect=expected))


def test_a_bundle_whose_own_hashes_were_all_repaired_is_not_the_expected_one(
    text_run: Finished, tunedeploy: Command
) -> None:
    known = Bundle(text_run.dist).id
    rules = read_json(text_run.dist / "parity" / "tolerances.json")
    for rule in rules["variants"].values():
        rule["max_abs"] *= 1e6
    edit_json(text_run.dist / "parity" / "tolerances.json", **rules)
    (text_run.dist / "parity" / "test_parity.py").write_text("def test_nothing(): pass\n")
    repair_bundle(text_run.dist)
    assert tunedeploy("verify", text_run.dist).code == 0  # by itself it cannot be told
    done = tunedeploy("verify", text_run.dist, "--expect", known[:12], "--checks", "metric")
    assert done.code == 3
    assert done.errors == [f"bundle: manifest.json: bundle ids other than the one expected: {Bundle(text_run.dist).id}"]


def test_an_expected_bundle_has_its_files_checked_whatever_checks_are_asked_for(text_run: Finished) -> None:
    known = Bundle(text_run.dist).id
    (text_run.dist / "README.md").write_text("another")
    with pytest.raises(ParityError, match=r"README.md: file changed"):
        api.verify(text_run.dist, ["metric"], expect=known)


def test_compiled_tests_are_added_files_to_an_expected_bundle(text_run: Finished) -> None:
    """pytest runs a compiled test in place of its source, and no hash is of it."""
    cache = text_run.dist / "parity" / "__pycache__"
    cache.mkdir()
    (cache / "test_parity.cpython-311-pytest-9.pyc").write_bytes(b"planted")
    api.verify(text_run.dist)
    with pytest.raises(ParityError, match=r"test_parity.cpython-311-pytest-9.pyc: file added"):
        api.verify(text_run.dist, expect=Bundle(text_run.dist).id)


def test_compiled_code_of_the_device_is_an_added_file_to_every_bundle(text_run: Finished) -> None:
    """Apps import that folder, and Python runs a compiled file in place of its source."""
    cache = text_run.dist / "parity" / "device" / "__pycache__"
    cache.mkdir()
    (cache / "bundle.cpython-311.pyc").write_bytes(b"planted")
    with pytest.raises(ParityError, match=r"parity/device/__pycache__/bundle.cpython-311.pyc: file added"):
        api.verify(text_run.dist)


@pytest.mark.parametrize("expected", ["", "abc", "0" * 11, "0" * 65, "z" * 12])
def test_what_is_no_id_is_a_mistake_of_the_command(expected: str, text_run: Finished) -> None:
    with pytest.raises(UsageError, match="is not an id; expected 12 to 64 hexadecimal digits"):
        api.verify(text_run.dist, expect=expected)


def test_a_run_has_no_id(text_run: Finished) -> None:
    with pytest.raises(UsageError, match="are for bundles"):
        api.verify(text_run.run, expect="0" * 12)


# ---- the signature


def test_a_signed_bundle_holds_for_the_key_of_its_signer(
    text_run: Finished, tunedeploy: Command, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    signed = tunedeploy("sign", text_run.dist, private, "--json").document
    assert signed == {"file": str(text_run.dist / "manifest.sig"), "bundle_id": Bundle(text_run.dist).id}
    assert (text_run.dist / "manifest.sig").stat().st_size == 64
    assert tunedeploy("verify", text_run.dist, "--key", public).code == 0
    assert tunedeploy("verify", text_run.dist).code == 0  # the signature is no added file


def test_openssl_reads_the_signature(text_run: Finished, keys: tuple[Path, Path]) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    api.sign(text_run.dist, keys[0])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys[1]), "-rawin"]
    files = ["-in", str(text_run.dist / "manifest.json"), "-sigfile", str(text_run.dist / "manifest.sig")]
    assert "Signature Verified" in subprocess.run([*command, *files], capture_output=True, text=True).stdout


def test_a_killed_sign_leaves_no_signature_or_the_whole_one_and_the_next_sign_clears_up(
    text_run: Finished, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """At every file operation; the bundle's own files are not touched."""
    private, public = keys
    for number in count():
        dist = Path(shutil.copytree(text_run.dist, tmp_path / str(number)))
        killed = killed_at(number, lambda dist=dist: api.sign(dist, private))
        signature = dist / "manifest.sig"
        assert not signature.exists() or signature.stat().st_size == 64
        assert Bundle(dist).id == Bundle(text_run.dist).id
        api.sign(dist, private)
        api.verify(dist, ["integrity"], key=public)
        assert [path.name for path in dist.glob(".*")] == []
        if not killed:
            break
    assert number >= 2


@pytest.mark.parametrize("how", ["another key", "repaired", "no signature", "cut", "link"])
def test_a_signature_that_does_not_hold_is_a_breach(
    how: str, text_run: Finished, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    signature = api.sign(text_run.dist, private)
    if how == "another key":
        public = make_keys(tmp_path, "b")[1]
    elif how == "repaired":
        (text_run.dist / "README.md").write_text("another")
        repair_bundle(text_run.dist)
    elif how == "no signature":
        signature.unlink()
    elif how == "cut":
        signature.write_bytes(signature.read_bytes()[:63])
    else:
        signature.rename(tmp_path / "signature")
        signature.symlink_to(tmp_path / "signature")
    with pytest.raises(ParityError, match=r"manifest.sig: signatures that do not hold: ") as caught:
        api.verify(text_run.dist, key=public)
    assert len(caught.value.lines) == 1


def test_a_changed_bundle_is_not_signed(text_run: Finished, keys: tuple[Path, Path]) -> None:
    (text_run.dist / "README.md").write_text("another")
    with pytest.raises(ParityError, match=r"README.md: file changed"):
        api.sign(text_run.dist, keys[0])
    assert not (text_run.dist / "manifest.sig").exists()


@pytest.mark.parametrize("content", [None, b"", b"no key", "public", "another kind"])
def test_a_key_that_cannot_be_used_is_one_line(
    content: Any, text_run: Finished, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    path = tmp_path / "key.pem"
    if content == "public":
        path = keys[1]
    elif content == "another kind":
        path = make_keys(tmp_path, "c", kind="ec")[0]
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=rf"{path.name}: (is not a private|is not an ed25519|cannot be read)") as caught:
        api.sign(text_run.dist, path)
    assert len(caught.value.lines[0].splitlines()) == 1


def test_signatures_without_their_package_are_one_line_with_the_cure(
    text_run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for name in [name for name in sys.modules if name.startswith("cryptography.")]:
        monkeypatch.delitem(sys.modules, name)
    for call in (lambda: api.sign(text_run.dist, tmp_path), lambda: api.verify(text_run.dist, key=tmp_path)):
        with pytest.raises(RunError, match=r"pip install 'tunedeploy\[sign\]'"):
            call()
