"""An image that is gone or damaged when it is needed is one line with its name."""

from pathlib import Path

import pytest

from tests.tiny import Tiny, images
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.encoders.image import open_image
from tunedeploy.errors import DataError, ImageError
from tunedeploy.run.folder import RunDir
from tunedeploy.stages import plan, train


@pytest.mark.parametrize("stage", [plan, train], ids=["plan", "train"])
def test_images_deleted_after_they_were_looked_at_are_one_line(stage: object, tiny: Tiny, tmp_path: Path) -> None:
    folder = images(tmp_path / "images", each=8)
    recipe = tiny.recipe(tmp_path / "r.yaml", "image-classification", data={"train": str(folder)})
    data_of(recipe)  # reads and decodes every image
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"\.png: the image cannot be read \(No such file or directory\)") as raised:
        stage.run(recipe, RunDir(tmp_path / "run"))  # type: ignore[attr-defined]
    assert len(raised.value.lines) == 1
    assert raised.value.exit_code == 1


def test_a_damaged_image_says_what_pillow_found(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"a\.png: the image cannot be read \(Pillow says: "):
        open_image(path)
    with pytest.raises(OSError, match="image: the image cannot be read"):
        open_image(b"no image")
