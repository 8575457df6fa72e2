"""Check this bundle on this machine: pytest parity/ needs numpy, onnxruntime, pytest, and tokenizers or Pillow.

Neither torch nor tunedeploy. Raw texts or pixels must become the golden inputs, and the golden inputs the golden
outputs. There is a single rule, over all golden rows together:

- no answer changes but where two labels were nearly tied (`near_tie`), and the logits are not scaled;
- float32 anywhere, and every variant on the instruction set and the onnxruntime that made the bundle: no logit differs
  by more than `max_abs`. Elsewhere integer kernels may round otherwise.

Nothing outside this bundle is read, whatever its files say. But running a test is running code: check a bundle that
comes from elsewhere with `tunedeploy verify DIST --expect ID` first.
"""

import importlib.util
import json
import platform
import stat
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

HERE = Path(__file__).parent
BUNDLE = HERE.parent
GAIN = 2.0  # how many times larger or smaller logits may be; an honest int8 is within a tenth of 1
CLEAR = 0.7  # correlation of logits before and after quantization; below, the noise is as large as what it is added to


# ---- the files


def inside(name):
    """The path of one of the bundle's files: below the bundle, neither a link itself nor behind one."""
    parts = name.split("/")
    assert not {"", ".", ".."} & set(parts) and not set(name) & set("\\:\0"), f"{name!r} leads out of the bundle"
    path, mode = BUNDLE, 0
    for part in parts:
        path = path / part
        mode = path.lstat().st_mode
        assert not stat.S_ISLNK(mode), f"{name} is a link, or lies behind one"
    assert stat.S_ISREG(mode), f"{name} is not a regular file"
    return path


def read_json(name):
    """A JSON file of the bundle."""
    return json.loads(inside(name).read_text(encoding="utf-8"))


TOLERANCES = read_json("parity/tolerances.json")
GOLDEN = read_json("parity/golden.json")
with np.load(inside("parity/golden.npz")) as archive:
    ARRAYS = dict(archive)
VARIANTS = sorted(TOLERANCES["variants"])
GROUPS = sorted({name.partition("/")[0] for name in ARRAYS})  # single rows, raw000 and on, and batches, set0 and on


def session_of(variant):
    """A default session of one variant's file."""
    path = inside(TOLERANCES["variants"][variant]["file"])
    outside = external_data(path.read_bytes())
    assert not outside, f"{path.name} keeps tensors in other files: {outside}"
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


# Field numbers of onnx.proto on every way from a model to the name of a file beside it.
FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


def external_data(content, kind="model"):
    """Entries of an ONNX file that name files beside it; onnxruntime would read them, wherever they are."""
    if kind == "entry":
        return [content.decode(errors="replace")] if b"location" in content else []
    if b"location" not in content:
        return []
    below = [(FIELDS[kind].get(number), part) for number, part in fields(content)]
    return [entry for name, part in below if name for entry in external_data(part, name)]


def fields(content):
    """Number and bytes of each field of a protobuf message that has a length of its own."""
    at = 0
    while at < len(content):
        tag, at = varint(content, at)
        if tag & 7 == 2:
            length, at = varint(content, at)
            yield tag >> 3, content[at : at + length]
            at += length
        elif tag & 7 == 0:
            _, at = varint(content, at)
        else:
            at += {1: 8, 5: 4}[tag & 7]


def varint(content, at):
    """A number of protobuf, and where the next thing begins."""
    value = shift = 0
    while True:
        value |= (content[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 128:
            return value, at


# ---- the rule


def instruction_set():
    """The vector extensions that decide which integer kernel runs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return [platform.machine(), platform.processor()]
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split()
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
    return [platform.machine(), *(flag for flag in known if flag in flags)]


def same_machine():
    """Whether integer kernels round here as they did where the bundle was made."""
    made = TOLERANCES["made_on"]
    return instruction_set() == made["instruction_set"] and onnxruntime.__version__ == made["onnxruntime"]


def check(variant, got, expected, fp32):
    """Hold the logits (rows, labels) of all golden rows to the variant's rule."""
    rule = TOLERANCES["variants"][variant]
    assert got.shape == expected.shape, f"{variant}: logits have shape {got.shape}, expected {expected.shape}"
    assert np.isfinite(got).all(), f"{variant}: NaN or infinity in the logits"
    difference = np.abs(got - expected).max(axis=1)
    if variant == "fp32" or same_machine():
        row, worst = int(difference.argmax()), float(difference.max())
        assert worst <= rule["max_abs"], (
            f"{variant}: logits differ by {worst:.3g} on row {row}, allowed {rule['max_abs']:.3g}"
        )
    # Answers do not see a softmax or a temperature; the slope between the centred logits does.
    # Goldens that lie no further apart than quantization moves them (noise) tell no slope; the file's own do.
    first, own, second = (logits - logits.mean(axis=1, keepdims=True) for logits in (fp32, expected, got))
    if (first * own).sum() < CLEAR * np.sqrt((first**2).sum() * (own**2).sum()):
        first = own
    slope = float((first * second).sum() / max(float((first**2).sum()), 1e-30))
    assert 1 / GAIN <= slope <= GAIN, f"{variant}: logits are {slope:.3g} times as large as they should be"
    ordered = np.sort(expected, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > rule.get("near_tie", 2 * rule["max_abs"])
    changed = np.flatnonzero(clear & (got.argmax(axis=1) != expected.argmax(axis=1)))
    assert not len(changed), f"{variant}: the answer changed on rows {changed.tolist()}, which were no near-ties"


# ---- the tests


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_inputs_give_the_golden_outputs(variant):
    session = session_of(variant)
    got = []
    for group in GROUPS:
        inputs = {one.name: ARRAYS[f"{group}/input/{one.name}"] for one in session.get_inputs()}
        got.append(session.run(["logits"], inputs)[0])
    expected, fp32 = (
        np.concatenate([ARRAYS[f"{group}/output/{name}"] for group in GROUPS]) for name in (variant, "fp32")
    )
    check(variant, np.concatenate(got), expected, fp32)


@pytest.mark.parametrize("at", range(len(GOLDEN["rows"])))
def test_raw_rows_give_the_golden_inputs(at):
    for name, value in encode(GOLDEN["rows"][at]).items():
        expected = ARRAYS[f"raw{at:03d}/input/{name}"]
        assert value.shape == expected.shape, f"{name} has shape {value.shape}, expected {expected.shape}"
        worst = float(np.abs(value.astype(np.float64) - expected).max(initial=0.0))
        assert worst <= GOLDEN["input_tolerance"], f"preprocessing gives another {name}, off by {worst:.3g}"


if "tokenizer_probe" in GOLDEN:

    def test_the_whole_tokenizer_gives_what_it_gave():
        tokenizers = pytest.importorskip("tokenizers", reason="the raw path of texts needs tokenizers")
        spec = importlib.util.spec_from_file_location("tokenizer_probe", inside("parity/tokenizer_probe.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        wanted, path = GOLDEN["tokenizer_probe"], str(inside("tokenizer.json"))
        assert wanted["version"] == module.VERSION, "tokenizer_probe.py is not the one that made the goldens"
        got = module.probe(lambda: tokenizers.Tokenizer.from_file(path), pairs=wanted["pairs"])["sha256"]
        changed = [name for name in {**wanted["sha256"], **got} if got.get(name) != wanted["sha256"].get(name)]
        made_with = f"made with tokenizers {wanted['tokenizers']}, here {tokenizers.__version__}"
        assert not changed, f"the tokenizer differs in {', '.join(changed)}; {made_with}"


def test_every_onnx_file_is_held_to_a_rule():
    files = {path.relative_to(BUNDLE).as_posix() for path in (BUNDLE / "onnx").glob("*.onnx")}
    assert files == {rule["file"] for rule in TOLERANCES["variants"].values()}
    assert "fp32" in VARIANTS
    assert len([group for group in GROUPS if group.startswith("raw")]) == len(GOLDEN["rows"]) > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_labels_are_in_order(variant):
    labels, names = read_json("labels.json"), read_json("config.json")["id2label"]
    metadata = session_of(variant).get_modelmeta().custom_metadata_map
    assert labels == GOLDEN["labels"]
    assert [names[str(at)] for at in range(len(names))] == labels, "config.json"
    assert json.loads(metadata["tunedeploy.labels"]) == labels, variant


# ---- preprocessing, as an app does it


def encode(row):
    """One raw row to a batch of one."""
    facts = GOLDEN["preprocessing"]
    return encode_text(row, facts) if facts["kind"] == "text" else encode_image(row, facts)


def encode_text(row, facts):
    """Ids by tokenizer.json, which holds the truncation."""
    tokenizers = pytest.importorskip("tokenizers", reason="raw texts need the package tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(inside("tokenizer.json")))
    tokenizer.no_padding()
    limit = facts.get("max_characters")  # None: the whole text
    texts = (row["text"], row["text_pair"]) if row.get("text_pair") is not None else (row["text"],)
    encoded = tokenizer.encode(*(text[:limit] for text in texts))
    ids = encoded.ids or [facts["lone_id"]]
    values = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": encoded.type_ids or [0]}
    return {name: np.asarray([values[name]], dtype=np.int64) for name in facts["inputs"]}


def encode_image(row, facts):
    """Pixels by Pillow: upright RGB, shorter side to `resize`, centre square of `size`, (x / 255 - mean) / std."""
    pillow = pytest.importorskip("PIL.Image", reason="raw images need the package Pillow")
    image = upright_rgb(pillow, inside(f"parity/{row['image']}"))
    width, height = image.size
    resize, size = facts["resize"], facts["size"]
    if facts["stretch"]:
        scaled = (resize, resize)
    elif width <= height:
        scaled = (resize, int(resize * height / width))
    else:
        scaled = (int(resize * width / height), resize)
    if scaled != image.size:
        image = image.resize(scaled, getattr(pillow.Resampling, facts["interpolation"].upper()))
    left, top = round((scaled[0] - size) / 2.0), round((scaled[1] - size) / 2.0)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / np.float32(255)
    pixels = (pixels - np.asarray(facts["mean"], np.float32)) / np.asarray(facts["std"], np.float32)
    return {"pixel_values": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}


def upright_rgb(pillow, path):
    """An image turned upright by its EXIF mark, 16 bits scaled to 8, without transparency."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(pillow.open(path, formats=("PNG", "JPEG")))
    if image.mode.startswith("I"):
        image = pillow.fromarray((np.asarray(image, np.float64) / 257).round().astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
