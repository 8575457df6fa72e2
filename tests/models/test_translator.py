"""A tokenizer has to end texts as the model does, or training never teaches where a text ends."""

import pytest
from tokenizers import processors

from tunedeploy.errors import ModelError
from tunedeploy.models import seq2seq, translator


def test_a_tokenizer_that_does_not_end_texts_is_refused() -> None:
    tokenizer = seq2seq.train_tokenizer(["the cat sleeps"], size=300, max_length=24)
    model = seq2seq.small_t5(tokenizer, width=32, layers=1)
    assert translator.facts_of(model, tokenizer, 24, 24).eos_id == 1
    tokenizer.post_processor = processors.ByteLevel()
    with pytest.raises(ModelError, match="its tokenizer does not end a text with '</s>', id 1; its post-processor"):
        translator.facts_of(model, tokenizer, 24, 24)
