"""A number from a text, or from a pair of texts: the model, and the encoder of pairs that it is trained with."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerBase

from tunedeploy.device.encoders import Features, Inputs, Row, text_pairs
from tunedeploy.device.encoders.text import TextFacts
from tunedeploy.models.sources import Source
from tunedeploy.models.text import TextClassifier, TransformersEncoder, fresh_names, pooled_trunk

STEEP = 3.0  # standard deviations of the target from a cosine of 0 to one of 1; sentence encoders have 2 to 4


class TextRegressor(TextClassifier):
    """One number a row, (batch, 1), in the unit of the data.

    The head gives how many standard deviations of the training targets the number is from their mean, so that one
    learning rate fits prices and probabilities. The texts of a pair are encoded separately, and the head reads how
    alike the two vectors are: the untrained model ranks pairs as their cosine does.

    Args:
        trunk: see TextClassifier.
        width: of the hidden states.
        pooling: see TextClassifier.
        pairs: whether a row is a pair: `input_ids` is (batch, 2, length) then, otherwise (batch, length).
        unit: mean and standard deviation of the training targets.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, trunk: nn.Module, *, width: int, pooling: str, pairs: bool, unit: tuple[float, float]) -> None:
        super().__init__(trunk, width=2 * width if pairs else width, labels=1, pooling=pooling)
        self.width, self.pairs = width, pairs
        for name, value in zip(("mean", "scale"), unit, strict=True):
            # They are facts of the assembly, so the weights do not hold them again. One axis, since a tensor without
            # any becomes bfloat16 beside bfloat16, and a price with it.
            self.register_buffer(name, torch.tensor([value]), persistent=False)
        if pairs:
            with torch.no_grad():
                # The sum of the products is the cosine. As a single feature, dropout would remove it entirely.
                self.own_head.weight.zero_()
                self.own_head.weight[:, width:] = STEEP / width
                self.own_head.bias.fill_(-STEEP / 2)

    def features(self, **inputs: torch.Tensor) -> torch.Tensor:
        """What the head reads: for a text its pooled vector, for a pair see `likeness`."""
        if not self.pairs:
            return super().features(**inputs)
        pooled = super().features(**{name: value.flatten(0, 1) for name, value in inputs.items()})
        first, second = pooled.reshape(-1, 2, pooled.shape[-1]).unbind(1)
        return likeness(first, second)

    def tail(self, outputs: torch.Tensor) -> torch.Tensor:
        """Standard deviations from the mean (batch, 1) to the unit of the data."""
        return outputs * self.scale + self.mean


def likeness(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Two vectors (batch, width) to (batch, 2 * width): by coordinate their distance, and their product.

    Both are those of unit vectors, scaled to about 1 at any width; the mean of the products is the cosine.
    """
    width = first.shape[-1]
    first, second = normalize(first, dim=-1), normalize(second, dim=-1)
    return torch.cat([(first - second).abs() * width**0.5, first * second * width], -1)


def build(
    source: Source, *, pooling: str, pairs: bool, unit: tuple[float, float], attention: str = "sdpa"
) -> tuple[TextRegressor, frozenset[str]]:
    """A regressor on a checkpoint's trunk, in float32 and eval mode, and the names of its fresh parameters.

    Args:
        source: see models.text.build, as for `pooling`, `attention` and the errors.
        pooling: one of POOLINGS.
        pairs: whether a row is a pair of texts.
        unit: mean and standard deviation of the training targets.
        attention: transformers' implementation.
    """
    trunk, width, missing = pooled_trunk(source, pooling, attention)
    model = TextRegressor(trunk, width=width, pooling=pooling, pairs=pairs, unit=unit)
    return model.eval(), fresh_names(model, missing)


class PairsEncoder(TransformersEncoder):
    """Encode pairs as training does, each text alone; see device/encoders/text_pairs.py."""

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows with `text` and `text_pair` to ids, each text cut at the maximum length."""
        return text_pairs.paired(super().encode(text_pairs.single_texts(rows)))

    def length(self, row: Row) -> int:
        """Tokens of both texts before truncation."""
        return sum(super(PairsEncoder, self).length(text_row) for text_row in text_pairs.single_texts([row]))

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """See tunedeploy.device.encoders.text_pairs.collate."""
        return text_pairs.collate(features, self._facts, size)

    def sizes(self, features: Sequence[Features]) -> list[int | None]:
        """See tunedeploy.device.encoders.text_pairs.sizes."""
        return text_pairs.sizes(features, self._facts)


def encoder_of(tokenizer: PreTrainedTokenizerBase, facts: TextFacts) -> TransformersEncoder:
    """Training's encoder, by the kind of its facts."""
    return (PairsEncoder if facts.kind == text_pairs.KIND else TransformersEncoder)(tokenizer, facts)
