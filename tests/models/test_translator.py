"""A tokenizer has to end texts as the model does, or training never teaches where a text ends."""

from typing import Any

import pytest
from tokenizers import Tokenizer, processors
from transformers import PreTrainedModel

from tunedeploy.errors import ModelError
from tunedeploy.models import seq2seq, translator


def test_a_tokenizer_that_does_not_end_texts_is_refused() -> None:
    tokenizer = seq2seq.train_tokenizer(["the cat sleeps"], size=300, max_length=24)
    model = seq2seq.small_t5(tokenizer, width=32, layers=1)
    assert translator.facts_of(model, tokenizer, 24, 24).eos_id == 1
    tokenizer.post_processor = processors.ByteLevel()
    with pytest.raises(ModelError, match="its tokenizer does not end a text with '</s>', id 1; its post-processor"):
        translator.facts_of(model, tokenizer, 24, 24)


def small(**config: Any) -> tuple[PreTrainedModel, Tokenizer]:
    tokenizer = seq2seq.train_tokenizer(["the cat sleeps"], size=300, max_length=24)
    model = seq2seq.small_t5(tokenizer, width=32, layers=1)
    for key, value in config.items():
        setattr(model.config, key, value)
    return model, tokenizer


@pytest.mark.parametrize(
    ("key", "value"),
    [("decoder_start_token_id", None), ("eos_token_id", [1, 2]), ("pad_token_id", -1), ("eos_token_id", 10**6)],
)
def test_an_id_that_a_checkpoint_does_not_have_is_one_line(key: str, value: Any) -> None:
    model, tokenizer = small(**{key: value})
    setattr(model.generation_config, key, None)
    with pytest.raises(ModelError, match=rf"config.json: {key}: expected one id from 0 to \d+, got") as caught:
        translator.facts_of(model, tokenizer, 24, 24)
    assert len(caught.value.lines) == 1


def test_an_id_may_stand_in_the_generation_config_alone() -> None:
    model, tokenizer = small(decoder_start_token_id=None)
    model.generation_config.decoder_start_token_id = 5  # type: ignore[union-attr]
    assert translator.facts_of(model, tokenizer, 24, 24).start_id == 5


def test_a_tokenizer_that_is_told_the_language_by_a_token_is_refused() -> None:
    model, tokenizer = small()
    tokenizer.add_special_tokens(["eng_Latn"])
    size = tokenizer.get_vocab_size()
    model.config.vocab_size = size
    language, end = tokenizer.token_to_id("eng_Latn"), tokenizer.token_to_id(seq2seq.END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"eng_Latn $A {seq2seq.END}", special_tokens=[("eng_Latn", language), (seq2seq.END, end)]
    )
    with pytest.raises(ModelError, match="begins a text with 'eng_Latn'; models that are told the language"):
        translator.facts_of(model, tokenizer, 24, 24)


def test_ids_beyond_the_embeddings_are_refused_whatever_their_number() -> None:
    model, tokenizer = small()
    model.config.vocab_size = max(tokenizer.get_vocab().values())
    with pytest.raises(ModelError, match="its tokenizer has ids up to"):
        translator.facts_of(model, tokenizer, 24, 24)


def test_beams_of_a_checkpoint_are_not_passed_over_in_silence() -> None:
    model, _ = small()
    assert translator.unused_settings(model) == []
    model.generation_config.num_beams = 4  # type: ignore[union-attr]
    (note,) = translator.unused_settings(model)
    assert note == "texts are written greedily; not used of the checkpoint: num_beams"
