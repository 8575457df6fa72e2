"""Image classification, tiny."""

from PIL import Image

from tests.tiny import TinyTask, images, resnet

TINY = TinyTask(
    data=lambda folder: images(folder / "images"),
    model=lambda folder: resnet(folder / "resnet"),
    row={"image": Image.new("RGB", (23, 31), (50, 180, 80))},
    answer=frozenset({"label", "probability"}),
    finished={"tune": {"method": "full"}, "train": {"epochs": 3, "lr": 0.003}},
    finished_data=lambda folder: images(folder / "rows", each=40),
)
