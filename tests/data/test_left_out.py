"""Rows that cannot be read are left out and listed while they are few, or where the recipe says so."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tunedeploy.data.columns import IMAGE_ROWS, TEXT_ROWS
from tunedeploy.data.read import Data, read, read_file
from tunedeploy.data.unreadable import LISTED
from tunedeploy.errors import DataError

PER_CLASS = 110  # two classes: two bad images are less than a hundredth


def _png(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), (seed % 256, seed // 256, 90)).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, every image another."""
    for at, label in enumerate(("iris", "rose")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(PER_CLASS):
            (tmp_path / "photos" / label / f"{number}.png").write_bytes(_png(at * PER_CLASS + number))
    return tmp_path / "photos"


def _read(path: Path, **options: Any) -> Data:
    return read({"train": str(path), **options}, IMAGE_ROWS)


def _origins(data: Data) -> set[str]:
    return {row["origin"] for split in (data.train, data.eval) for row in split}


def test_a_few_bad_images_are_left_out_and_all_listed(photos: Path) -> None:
    (photos / "rose" / "7.png").write_bytes(b"")
    (photos / "iris" / "3.png").write_bytes(_png(3)[:40])
    data = _read(photos)
    assert len(_origins(data)) == 2 * PER_CLASS - 2
    assert not {"photos/rose/7.png", "photos/iris/3.png"} & _origins(data)
    assert [line.split(": ")[0] for line in data.left_out] == ["photos/iris/3.png", "photos/rose/7.png"]
    assert "photos: 2 of 220 rows cannot be read and are left out" in data.notes
    assert "photos/rose/7.png: data.image: the image file is empty (0 bytes); remove or replace it" in data.notes


def test_the_rows_that_remain_are_those_of_a_clean_set(photos: Path) -> None:
    (photos / "rose" / "7.png").write_bytes(b"")
    with_bad = _read(photos)
    (photos / "rose" / "7.png").unlink()
    assert _read(photos).fingerprint == with_bad.fingerprint
    assert list(_read(photos).train["label"]) == list(with_bad.train["label"])


def test_more_than_a_hundredth_stops_with_the_key_that_goes_on(photos: Path) -> None:
    for number in range(3):
        (photos / "rose" / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        _read(photos)
    (line,) = caught.value.lines
    assert line.startswith("photos/rose/0.png: data.image: the image file is empty")
    assert "(2 more such rows, next photos/rose/1.png)" in line
    assert line.endswith("; 'data.skip_bad: true' leaves them out")
    data = _read(photos, skip_bad=True)
    assert len(data.left_out) == 3
    assert len(_origins(data)) == 2 * PER_CLASS - 3


def test_a_long_list_is_cut_in_the_notes_alone(photos: Path) -> None:
    for number in range(50):
        (photos / "rose" / f"{number}.png").write_bytes(b"")
    data = _read(photos, skip_bad=True)
    assert len(data.left_out) == 50
    assert len([note for note in data.notes if "image file is empty" in note]) == LISTED
    assert [
        note for note in data.notes if note.endswith(f"and {50 - LISTED} more, all in data/left_out.json of the run")
    ]


def test_a_table_leaves_out_images_that_are_not_there(photos: Path) -> None:
    rows = [f"{label}/{number}.png,{label}" for label in ("iris", "rose") for number in range(PER_CLASS)]
    (photos / "a.csv").write_text("image,label\n" + "\n".join([*rows, "iris/gone.png,iris"]))
    data = _read(photos / "a.csv")
    assert len(data.left_out) == 1
    assert data.left_out[0].startswith("a.csv:222: data.image ('image'): no image file 'iris/gone.png'")


@pytest.mark.parametrize("cell", ["gone.png", "{folder}/gone.png", "C:\\\\Users\\\\alice\\\\gone.png"])
def test_no_reason_holds_a_folder_of_this_machine(photos: Path, cell: str) -> None:
    rows = [f"{label}/{number}.png,{label}" for label in ("iris", "rose") for number in range(PER_CLASS)]
    (photos / "a.csv").write_text("image,label\n" + "\n".join([*rows, cell.format(folder=photos / "iris") + ",iris"]))
    data = _read(photos / "a.csv")
    (line,) = data.left_out
    assert line.startswith("a.csv:222: data.image ('image'): no image file 'gone.png'")
    told = "\n".join([*data.left_out, *data.notes])
    assert str(photos) not in told
    assert "Users" not in told


def test_groups_stay_with_their_rows(photos: Path) -> None:
    (photos / "iris" / "0.png").write_bytes(b"")
    rows = [f"{label}/{n}.png,{label},{n // 5}" for label in ("iris", "rose") for n in range(PER_CLASS)]
    (photos / "a.csv").write_text("image,label,shoot\n" + "\n".join(rows))
    data = _read(photos / "a.csv", group="shoot")
    shoots = [
        {int(rows[int(row["origin"].rpartition(":")[2]) - 2].rpartition(",")[2]) for row in split}
        for split in (data.train, data.eval)
    ]
    assert shoots[0]
    assert not shoots[0] & shoots[1]


def test_texts_are_left_out_only_where_the_recipe_says_so(tmp_path: Path) -> None:
    records = [{"text": None if n == 7 else f"Satz {n}", "label": "" if n == 9 else "ab"[n % 2]} for n in range(400)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(DataError, match=r"a\.jsonl:8: data\.text"):
        read({"train": str(path)}, TEXT_ROWS)
    data = read({"train": str(path), "skip_bad": True}, TEXT_ROWS)
    assert [line.split(": data")[0] for line in data.left_out] == ["a.jsonl:8", "a.jsonl:10"]


def test_where_no_row_can_be_read_the_mistake_is_said(tmp_path: Path) -> None:
    records = [{"text": n, "label": "ab"[n % 2]} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(DataError, match=r"a\.jsonl:1: data\.text .* \(39 more such rows, next a\.jsonl:2\)$"):
        read({"train": str(tmp_path / "a.jsonl"), "skip_bad": True}, TEXT_ROWS)


def test_rows_to_be_scored_are_never_left_out(photos: Path) -> None:
    (photos / "rose" / "7.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"photos/rose/7\.png: data\.image: the image file is empty"):
        read_file(str(photos), {}, IMAGE_ROWS, labels=("iris", "rose"))


# ---- photos of telephones


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40


def test_a_heic_photo_is_answered_with_the_package_that_reads_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunedeploy.device.encoders._heif.register", lambda: False)
    for number in range(4):
        (photos / "rose" / f"IMG_{number}.HEIC").write_bytes(HEIC)
    with pytest.raises(DataError) as caught:
        _read(photos)
    (line,) = caught.value.lines
    assert line.startswith("photos/rose/IMG_0.HEIC: data.image: a HEIC photo, which Pillow reads with another package")
    assert "'pip install pillow-heif'" in line


def test_a_heic_photo_is_read_where_the_package_is_installed(photos: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.register_heif_opener()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(photos / "rose" / "IMG_1.HEIC", "HEIF")
    data = _read(photos)
    assert "photos/rose/IMG_1.HEIC" in _origins(data)
    from tunedeploy.device.encoders.image import open_image

    red, green, blue = open_image(str(photos / "rose" / "IMG_1.HEIC")).getpixel((5, 5))
    assert red > 150 > green + blue
