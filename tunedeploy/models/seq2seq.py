"""A small encoder and decoder for texts to texts: made from a config, and as the two nets that are exported.

No pretrained weights are needed: translation of short sentences is learned from some ten thousand pairs.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from torch import nn
from transformers import MarianConfig, MarianMTModel, PreTrainedModel, T5Config, T5ForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from tunedeploy.device.encoders import Array
from tunedeploy.device.programs.seq2seq import (
    CACHED,
    DECODER,
    ENCODER,
    PROJECTED,
    SOURCE,
    STEPS,
    Seq2SeqFacts,
    decoder_graph,
    encoder_graph,
)
from tunedeploy.errors import ModelError

PAD, END = "<pad>", "</s>"


def train_tokenizer(texts: Iterable[str], *, size: int, max_length: int) -> Tokenizer:
    """A tokenizer of both languages: byte pairs, so that no character is unknown and decoding restores the text.

    Args:
        texts: of both languages.
        size: entries, at the most.
        max_length: tokens of a text, the end included.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # a word is the same at the beginning
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD, END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    end = tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])
    tokenizer.enable_truncation(max_length)
    return tokenizer


def small_t5(tokenizer: Tokenizer, *, width: int, layers: int) -> PreTrainedModel:
    """A T5 with weights from torch's seed, in float32 and eval mode; positions are relative, so no length is a limit.

    Args:
        tokenizer: with PAD and END.
        width: of the states, in steps of 32, the width of a head.
        layers: of the encoder, and of the decoder.
    """
    pad, end = tokenizer.token_to_id(PAD), tokenizer.token_to_id(END)
    make: Any = T5Config
    config = make(
        vocab_size=tokenizer.get_vocab_size(), d_model=width, d_kv=32, num_heads=width // 32, d_ff=8 * width // 3,
        num_layers=layers, num_decoder_layers=layers, pad_token_id=pad, eos_token_id=end, decoder_start_token_id=pad,
        attn_implementation="eager",  # as sdpa its relative positions do not export
    )  # fmt: skip
    model: Any = T5ForConditionalGeneration(config)
    return cast(PreTrainedModel, model.eval())


def small_marian(tokenizer: Tokenizer, *, width: int, layers: int, positions: int) -> PreTrainedModel:
    """A Marian with weights from torch's seed, in float32 and eval mode; its positions are sines and are not trained.

    Args:
        tokenizer: with PAD and END.
        width: of the states, in steps of 32, the width of a head.
        layers: of the encoder, and of the decoder.
        positions: tokens that the longest text may have.
    """
    pad, end = tokenizer.token_to_id(PAD), tokenizer.token_to_id(END)
    make: Any = MarianConfig
    config = make(
        vocab_size=tokenizer.get_vocab_size(), d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=width // 32, decoder_attention_heads=width // 32, encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width, pad_token_id=pad, eos_token_id=end, decoder_start_token_id=pad,
        forced_eos_token_id=None, bad_words_ids=None, max_position_embeddings=positions, scale_embedding=True,
        activation_function="relu", attn_implementation="eager",
    )  # fmt: skip
    model: Any = MarianMTModel(config)
    return cast(PreTrainedModel, model.eval())


def facts_of(model: PreTrainedModel, max_new_tokens: int) -> Seq2SeqFacts:
    """What a device must know of a model.

    Raises:
        ModelError: the decoder is built in an unknown way, or the checkpoint does not say how a text starts and ends.
    """
    config: Any = model.config
    try:
        key = Projections.of(model)[0].key
    except AttributeError as error:
        raise ModelError(f"model: its decoder is built neither as T5's nor as BART's: {error}") from error
    return Seq2SeqFacts(
        start_id=id_of(model, "decoder_start_token_id"), eos_id=id_of(model, "eos_token_id"),
        pad_id=id_of(model, "pad_token_id"), max_new_tokens=max_new_tokens,
        layers=len(Projections.of(model)), heads=heads_of(config),
        head_width=key.out_features // heads_of(config), width=config.d_model, vocabulary=config.vocab_size,
    )  # fmt: skip


def id_of(model: PreTrainedModel, key: str) -> int:
    """An id by which the model starts, ends or pads a text, of its config or else of its generation config.

    Raises:
        ModelError: neither has one id of the vocabulary there.
    """
    configs: list[Any] = [model.config, model.generation_config]
    value = next((found for config in configs if (found := getattr(config, key, None)) is not None), None)
    size = getattr(model.config, "vocab_size", 0)
    if not isinstance(value, int) or not 0 <= value < size:
        raise ModelError(f"model: config.json: {key}: expected one id from 0 to {size - 1}, got {value}")
    return value


def heads_of(config: Any) -> int:
    """Attention heads of the decoder, which T5 and BART's relatives name differently."""
    return int(getattr(config, "decoder_attention_heads", None) or config.num_heads)


class Projections(nn.Module):
    """The two products by which a decoder's layer reads the encoder's states."""

    def __init__(self, key: nn.Linear, value: nn.Linear) -> None:
        super().__init__()
        self.key, self.value = key, value

    @classmethod
    def of(cls, model: PreTrainedModel) -> "list[Projections]":
        """Those of every layer, found by their structure: T5's blocks, or the layers of BART and its relatives.

        Raises:
            AttributeError: the decoder is built in neither way.
        """
        decoder = cast(Any, model).get_decoder()
        if hasattr(decoder, "block"):
            return [cls(block.layer[1].EncDecAttention.k, block.layer[1].EncDecAttention.v) for block in decoder.block]
        return [cls(layer.encoder_attn.k_proj, layer.encoder_attn.v_proj) for layer in decoder.layers]


class EncoderNet(nn.Module):
    """The graph `encoder_model`: ids and mask (batch, sequence) to states (batch, sequence, width)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.encoder: Any = model.get_encoder()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """See the class."""
        states: torch.Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states


class DecoderNet(nn.Module):
    """The graph `decoder_model_merged`: new ids and the cache so far to logits and the cache with them.

    Inputs are those of device/programs/seq2seq.decoder_graph, the cache as one list in its order, `past_key_values`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model: Any = model
        self.projections = nn.ModuleList(Projections.of(model))
        self.heads = heads_of(model.config)
        # transformers 5.24 renamed the argument, and warns about the old name.
        self.argument = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"

    def forward(
        self,
        encoder_attention_mask: torch.Tensor,
        input_ids: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        past_key_values: list[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """Logits (batch, steps, vocabulary), then the cache's arrays."""
        cache = self.cache(encoder_hidden_states, past_key_values)
        out = self.model(
            encoder_outputs=(encoder_hidden_states,), attention_mask=encoder_attention_mask,
            decoder_input_ids=input_ids, use_cache=True, **{self.argument: cache},
        )  # fmt: skip
        own, cross = cache.self_attention_cache, cache.cross_attention_cache
        layers: list[Any] = [part.layers[at] for at in range(len(self.projections)) for part in (own, cross)]
        return (out.logits, *(tensor for layer in layers for tensor in (layer.keys, layer.values)))

    def cache(self, states: torch.Tensor, past: list[torch.Tensor]) -> EncoderDecoderCache:
        """The cache so far, with the keys and values of whatever states are not in it yet."""
        own, cross = DynamicCache(), DynamicCache()
        projections: Any
        cache = EncoderDecoderCache(own, cross)
        rest = states[:, past[2].shape[2] :]
        for at, projections in enumerate(self.projections):
            key, value, cross_key, cross_value = past[4 * at : 4 * at + 4]
            own.update(key, value, at)
            cross.update(
                torch.cat([cross_key, self.split(projections.key(rest))], 2),
                torch.cat([cross_value, self.split(projections.value(rest))], 2),
                at,
            )
            cache.is_updated[at] = True
        return cache

    def split(self, projected: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to (batch, heads, length, width of a head); a length of 0 leaves no -1 a meaning."""
        batch, length, width = projected.shape
        return projected.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


def nets_of(model: PreTrainedModel) -> Mapping[str, nn.Module]:
    """The net of each graph, by its name; they share the model's weights and its present mode."""
    return {ENCODER: EncoderNet(model).train(model.training), DECODER: DecoderNet(model).train(model.training)}


def example_of(facts: Seq2SeqFacts) -> Mapping[str, dict[str, Array]]:
    """Inputs of each graph to trace it with: no two axes have the same size, and part of every cache is filled."""
    rows, source, cached, past, steps = 2, 6, 4, 5, 3
    sizes = {"batch": rows, SOURCE: source, PROJECTED: cached, CACHED: past, STEPS: steps}
    example = {}
    for graph in (encoder_graph(facts), decoder_graph(facts)):
        shapes = {value.name: [sizes.get(str(axis), axis) for axis in value.axes] for value in graph.inputs}
        example[graph.name] = {
            value.name: np.ones([int(size) for size in shapes[value.name]], dtype=value.dtype) for value in graph.inputs
        }
    return example
