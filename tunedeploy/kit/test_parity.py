"""Check this bundle on this machine: pytest parity/ needs numpy, onnxruntime, pytest, and tokenizers or Pillow.

Neither torch nor tunedeploy. Every variant is run on the golden inputs, from tensors and from raw text or pixels, and
compared with what it gave when the bundle was made. Rule for int8 on another instruction set or another version of
onnxruntime: integer kernels may round otherwise there, so rows are judged by their answer, near-ties left out.
"""

import importlib.util
import json
import math
import platform
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

HERE = Path(__file__).parent
BUNDLE = HERE.parent
TOLERANCES = json.loads((HERE / "tolerances.json").read_text(encoding="utf-8"))
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
ARRAYS = np.load(HERE / "golden.npz")
VARIANTS = sorted(TOLERANCES["variants"])
GAIN = 2.0  # an honest int8 is within a tenth of 1
SETS = sorted({name.split("/")[0] for name in ARRAYS.files if name.startswith("set")})


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


def session_of(variant):
    """A default session of one variant's file."""
    path = BUNDLE / TOLERANCES["variants"][variant]["file"]
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(session, inputs):
    """Logits for one batch."""
    wanted = {one.name: inputs[one.name] for one in session.get_inputs()}
    return session.run(["logits"], wanted)[0]


def check(variant, got, expected):
    """Compare logits (rows, labels) by the variant's rule."""
    rule = TOLERANCES["variants"][variant]
    assert got.shape == expected.shape, f"{variant}: shape {got.shape}, expected {expected.shape}"
    assert np.isfinite(got).all(), f"{variant}: NaN or infinity in the output"
    worst = float(np.abs(got - expected).max())
    if variant == "fp32" or same_machine():
        row = int(np.abs(got - expected).max(axis=1).argmax())
        assert worst <= rule["max_abs"], (
            f"{variant}: logits differ by {worst:.3g} on row {row}, allowed {rule['max_abs']:.3g}"
        )
        return
    # Answers do not see a softmax or a temperature; the slope between the centred logits does.
    first, second = (one - one.mean(axis=1, keepdims=True) for one in (expected, got))
    slope = float((first * second).sum() / max(float((first**2).sum()), 1e-30))
    assert 1 / GAIN <= slope <= GAIN, f"{variant}: logits are {slope:.3g} times as large"
    ordered = np.sort(expected, axis=1)
    clear = (ordered[:, -1] - ordered[:, -2]) > rule["near_tie"]
    flipped = np.flatnonzero(clear & (got.argmax(1) != expected.argmax(1)))
    allowed = math.ceil(rule["flips"] * len(expected))
    assert len(flipped) <= allowed, f"{variant}: rows {flipped.tolist()} changed their answer, allowed {allowed}"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", SETS)
def test_tensors_give_the_golden_outputs(variant, name):
    inputs = {key.split("/")[-1]: ARRAYS[key] for key in ARRAYS.files if key.startswith(f"{name}/input/")}
    assert inputs, f"{name} holds no input"
    check(variant, run(session_of(variant), inputs), ARRAYS[f"{name}/output/{variant}"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_raw_rows_give_the_golden_outputs(variant):
    session = session_of(variant)
    assert GOLDEN["rows"], "golden.json holds no row"
    for at, row in enumerate(GOLDEN["rows"]):
        inputs = encode(row)
        for name, value in inputs.items():
            expected = ARRAYS[f"raw{at:03d}/input/{name}"]
            assert value.shape == expected.shape, f"row {at}: {name} has shape {value.shape}, expected {expected.shape}"
            worst = float(np.abs(value.astype(np.float64) - expected).max(initial=0.0))
            assert worst <= GOLDEN["input_tolerance"], (
                f"row {at}: preprocessing gives another {name}, off by {worst:.3g}"
            )
        check(variant, run(session, inputs), ARRAYS[f"raw{at:03d}/output/{variant}"])


if "tokenizer_probe" in GOLDEN:

    def test_the_whole_tokenizer_gives_what_it_gave():
        tokenizers = pytest.importorskip("tokenizers", reason="the raw path of texts needs tokenizers")
        spec = importlib.util.spec_from_file_location("tokenizer_probe", HERE / "tokenizer_probe.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        wanted, path = GOLDEN["tokenizer_probe"], str(BUNDLE / "tokenizer.json")
        assert wanted["version"] == module.VERSION, "tokenizer_probe.py is not the one that made the goldens"
        got = module.probe(lambda: tokenizers.Tokenizer.from_file(path), pairs=wanted["pairs"])["sha256"]
        changed = [name for name in {**wanted["sha256"], **got} if got.get(name) != wanted["sha256"].get(name)]
        made_with = f"made with tokenizers {wanted['tokenizers']}, here {tokenizers.__version__}"
        assert not changed, f"the tokenizer differs in {', '.join(changed)}; {made_with}"


def test_every_onnx_file_is_held_to_a_rule():
    files = {path.relative_to(BUNDLE).as_posix() for path in (BUNDLE / "onnx").glob("*.onnx")}
    assert files == {rule["file"] for rule in TOLERANCES["variants"].values()}
    assert SETS
    assert GOLDEN["rows"]


def test_labels_are_in_order():
    labels = json.loads((BUNDLE / "labels.json").read_text(encoding="utf-8"))
    config = json.loads((BUNDLE / "config.json").read_text(encoding="utf-8"))
    assert [config["id2label"][str(at)] for at in range(len(config["id2label"]))] == labels, "config.json"
    for variant in VARIANTS:
        metadata = session_of(variant).get_modelmeta().custom_metadata_map
        assert json.loads(metadata["tunedeploy.labels"]) == labels == GOLDEN["labels"], variant


def encode(row):
    """One raw row to a batch of one."""
    facts = GOLDEN["preprocessing"]
    return encode_text(row, facts) if facts["kind"] == "text" else encode_image(row, facts)


def encode_text(row, facts):
    """Ids by tokenizer.json, which holds the truncation."""
    tokenizers = pytest.importorskip("tokenizers", reason="the raw path of texts needs tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(BUNDLE / "tokenizer.json"))
    tokenizer.no_padding()
    pair = (row["text"], row["text_pair"]) if row.get("text_pair") is not None else (row["text"],)
    one = tokenizer.encode(*pair)
    ids = one.ids or [facts["lone_id"]]
    made = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": one.type_ids or [0]}
    return {name: np.asarray([made[name]], dtype=np.int64) for name in facts["inputs"]}


def encode_image(row, facts):
    """Pixels by Pillow: upright RGB, shorter side to `resize`, centre square of `size`, (x / 255 - mean) / std."""
    image_module = pytest.importorskip("PIL.Image", reason="the raw path of images needs Pillow")
    image = opened(image_module, HERE / row["image"])
    width, height = image.size
    resize, size = facts["resize"], facts["size"]
    if facts["stretch"]:
        wide = (resize, resize)
    elif width <= height:
        wide = (resize, int(resize * height / width))
    else:
        wide = (int(resize * width / height), resize)
    if wide != image.size:
        image = image.resize(wide, getattr(image_module.Resampling, facts["interpolation"].upper()))
    left, top = round((wide[0] - size) / 2.0), round((wide[1] - size) / 2.0)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / np.float32(255)
    pixels = (pixels - np.asarray(facts["mean"], np.float32)) / np.asarray(facts["std"], np.float32)
    return {"pixel_values": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}


def opened(image_module, path):
    """An image turned upright by its EXIF mark, 16 bits scaled to 8, without transparency."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image_module.open(path))
    if image.mode.startswith("I"):
        image = image_module.fromarray((np.asarray(image, np.float64) / 257).round().astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
