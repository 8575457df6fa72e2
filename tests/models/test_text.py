"""Text trunks: the width is what they give, and what is no text encoder is refused in one line."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.tiny import Tiny
from tunedeploy.errors import ModelError
from tunedeploy.models import text
from tunedeploy.models.sources import Source

SMALL: dict[str, Any] = {"vocab_size": 100}
TRUNKS: dict[str, dict[str, Any]] = {
    "T5": SMALL | {"d_model": 32, "d_ff": 64, "num_layers": 1, "num_heads": 2, "d_kv": 16},
    "DistilBert": SMALL | {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64},
    "XLNet": SMALL | {"d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 64},
    "ViT": {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
        "patch_size": 8,
    },
}  # fmt: skip


def folder_of(tiny: Tiny, folder: Path, name: str) -> Source:
    """A random trunk of a class beside the tiny tokenizer."""
    shutil.copytree(tiny["bert"], folder)
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**TRUNKS[name])
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    return Source(scheme="hf", name=str(folder))


@pytest.mark.parametrize("name", ["DistilBert", "XLNet"])
def test_a_trunk_that_calls_its_width_something_else_is_taken(name: str, tiny: Tiny, tmp_path: Path) -> None:
    model, _ = text.build(folder_of(tiny, tmp_path / "m", name), labels=3, pooling="mean")
    assert model.head.in_features == 32


@pytest.mark.parametrize("name", ["T5", "ViT"])
def test_a_model_that_is_no_text_encoder_is_one_line(name: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"must be a text encoder or decoder, which {name}Model is not") as caught:
        text.build(folder_of(tiny, tmp_path / "m", name), labels=3, pooling="mean")
    assert len(caught.value.lines) == 1


def test_a_pooler_that_a_model_does_not_have_is_one_line(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tune.pooling is 'pooler', which DistilBertModel is not made for"):
        text.build(folder_of(tiny, tmp_path / "m", "DistilBert"), labels=3, pooling="pooler")


def test_a_model_folder_without_its_tokenizer_is_refused_before_every_word_is_unknown(
    tiny: Tiny, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny["bert"], tmp_path / "bare"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="its tokenizer knows no word; add the checkpoint's tokenizer.json"):
        text.open_tokenizer(Source(scheme="hf", name=str(folder)))
