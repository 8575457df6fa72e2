"""Text classification, tiny."""

from tests.tiny import TinyTask, bert, texts

TINY = TinyTask(
    data=lambda folder: texts(folder / "texts.csv"),
    model=lambda folder: bert(folder / "bert"),
    row={"text": "snow and then the wind again"},
    answer=frozenset({"label", "probability"}),
    finished={"tune": {"method": "lora"}, "train": {"epochs": 8, "lr": 0.01}},
    finished_data=lambda folder: texts(folder / "rows.csv", rows=150),
)
