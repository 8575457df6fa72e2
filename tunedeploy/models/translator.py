"""A model that writes texts: an encoder and a decoder that is trained with the right answer as its prefix."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from tunedeploy.device.encoders.text import characters_kept
from tunedeploy.device.encoders.text_to_text import TextToTextEncoder, TextToTextFacts, facts_from
from tunedeploy.device.programs.seq2seq import Seq2SeqFacts, opened, whole_graph
from tunedeploy.errors import ModelError, RecipeError
from tunedeploy.models import loading, seq2seq, sources, text, text_folder
from tunedeploy.models.classifier import Assembly, Classifier
from tunedeploy.models.sources import Source
from tunedeploy.run.atomic import write_json

if TYPE_CHECKING:
    from tunedeploy.data.read import Data
    from tunedeploy.device.decisions import Decision
    from tunedeploy.recipe.read import Recipe

LONGEST = 128  # tokens; the cost of attention grows with their square
ARCHITECTURES = ("marian", "t5")  # what new:// makes; the former learns faster from nothing


class Translator(Classifier):
    """Logits of each token of the right answer, (batch, steps, vocabulary), from the source and that answer."""

    def __init__(self, trunk: PreTrainedModel) -> None:
        super().__init__(trunk, width=trunk.config.vocab_size, labels=0, dropout=0.0)
        # Sinusoidal positions are not weights: transformers does not save them and computes them again when it loads a
        # folder; they require a gradient in a loaded model, but not in a new one.
        computed = trunk._keys_to_ignore_on_save or ()
        self.fixed = [parameter for name, parameter in trunk.named_parameters() if name in computed]
        self.requires_grad_(True)

    def requires_grad_(self, requires_grad: bool = True) -> "Translator":
        """As torch's, but parameters that a checkpoint does not save never require a gradient."""
        super().requires_grad_(requires_grad)
        for parameter in self.fixed:
            parameter.requires_grad_(False)
        return self

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        decoder_attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """See the class; places behind a row's end are computed and mean nothing."""
        del decoder_attention_mask  # a token attends to none behind it
        logits: torch.Tensor = self.trunk(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids, use_cache=False
        ).logits
        return logits


def assemble(recipe: "Recipe", data: "Data", decision: "Decision") -> Assembly:
    """The model before training: a checkpoint, or a new one with a tokenizer of the training rows.

    Raises:
        RecipeError: the recipe names an unknown architecture.
        ModelError: the checkpoint cannot be opened, or cannot be exported as an encoder and a decoder.
    """
    if recipe.train.augment != "none":
        raise RecipeError(f"train.augment: {recipe.train.augment!r} is for images; {recipe.task} takes 'none'")
    source = sources.locate(recipe.model.name, recipe.model.weights)
    fresh: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    if source.scheme == "new":
        trunk, tokenizer = new_model(source, recipe, data)
        fresh = frozenset(f"trunk.{name}" for name, parameter in trunk.named_parameters() if parameter.requires_grad)
    elif source.scheme == "hf":
        trunk, tokenizer = loading.open_seq2seq(source), open_tokenizer(source)
        notes = (*unused_sizes(recipe), *unused_settings(trunk))
    else:
        raise RecipeError(f"model: {recipe.model.name!r} has images for input; {recipe.task} needs a text model")
    lengths = [length_of(trunk, key, getattr(recipe.data, key)) for key in ("max_length", "max_target_length")]
    facts = facts_of(trunk, tokenizer, *lengths)
    return replace(assembly_of(trunk, tokenizer, facts, decision, fresh), notes=notes)


def new_model(source: Source, recipe: "Recipe", data: "Data") -> tuple[PreTrainedModel, Tokenizer]:
    """A model with random weights, of the size that the recipe says, and a tokenizer learned from the training rows.

    Raises:
        RecipeError: the recipe names an unknown architecture.
    """
    if source.name not in ARCHITECTURES:
        known = " or ".join(f"new://{name}" for name in ARCHITECTURES)
        raise RecipeError(f"model: new://{source.name} is not known; expected {known}")
    options: Any = recipe.data
    tune: Any = recipe.tune
    texts = (str(row[key]) for row in data.train for key in ("text", "target"))
    tokenizer = seq2seq.train_tokenizer(texts, size=tune.vocabulary, max_length=options.max_length or LONGEST)
    if source.name == "t5":
        return seq2seq.small_t5(tokenizer, width=tune.width, layers=tune.layers), tokenizer
    longest = max(options.max_length or LONGEST, options.max_target_length or LONGEST)
    return seq2seq.small_marian(tokenizer, width=tune.width, layers=tune.layers, positions=longest), tokenizer


def unused_sizes(recipe: "Recipe") -> list[str]:
    """A note where the recipe gives sizes that only a new model can have."""
    sizes = ("tune.width", "tune.layers", "tune.vocabulary")
    keys = [key for key in sizes if not recipe.sources[key].startswith("default")]
    return [f"{', '.join(keys)}: not used, since a checkpoint has its own sizes"] if keys else []


def unused_settings(trunk: PreTrainedModel) -> list[str]:
    """A note on the generation settings of a checkpoint that no bundle uses: it writes the best token at each step."""
    settings: Any = trunk.generation_config
    usual = {"num_beams": 1, "no_repeat_ngram_size": 0, "bad_words_ids": None, "suppress_tokens": None}
    unused = [key for key, value in usual.items() if getattr(settings, key, None) not in (None, value)]
    return [f"texts are written greedily; not used of the checkpoint: {', '.join(unused)}"] if unused else []


def length_of(trunk: PreTrainedModel, key: str, length: int | None) -> int:
    """How many tokens a text may have: as the recipe says, or LONGEST or what the model has positions for.

    Raises:
        RecipeError: the recipe asks for more than the model has positions for.
    """
    config: Any = trunk.config
    most = getattr(config, "max_position_embeddings", None) or length or LONGEST  # T5's are relative and have no end
    if length is not None and length > most:
        raise RecipeError(f"data.{key}: {length} is over the model's {most}")
    return int(length or min(most, LONGEST))


def open_tokenizer(source: Source) -> Tokenizer:
    """The checkpoint's tokenizer.json.

    Raises:
        ModelError: it has none that can run on a device.
    """
    fast: Any = text.open_tokenizer(source)
    return Tokenizer.from_str(fast.backend_tokenizer.to_str())


def facts_of(trunk: PreTrainedModel, tokenizer: Tokenizer, max_length: int, max_target: int) -> TextToTextFacts:
    """How texts become this model's inputs, and how its files are called.

    Raises:
        ModelError: the decoder is built in a way that is not known, or the tokenizer is of another model or does not
            end a text with the id by which the model ends one.
    """
    program = seq2seq.facts_of(trunk, max_target)
    highest = max(tokenizer.get_vocab().values())
    if highest >= program.vocabulary:
        raise ModelError(
            f"model: its tokenizer has ids up to {highest}, its head {program.vocabulary} rows; are they of one model?"
        )
    ids = tokenizer.encode("a").ids
    if ids[-1:] != [program.eos_id]:
        raise ModelError(
            f"model: its tokenizer does not end a text with {tokenizer.id_to_token(program.eos_id)!r}, id "
            f"{program.eos_id}; its post-processor must append it"
        )
    config: Any = trunk.config
    first = tokenizer.id_to_token(ids[0])
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    if first in special and ids[0] not in (getattr(config, "bos_token_id", None), program.eos_id):
        raise ModelError(
            f"model: its tokenizer begins a text with {first!r}; models that are told the language by a token are not "
            "supported, name a checkpoint of one pair of languages"
        )
    return TextToTextFacts(
        max_length=max_length, max_target_length=max_target, pad_id=program.pad_id, start_id=program.start_id,
        eos_id=program.eos_id, lone_id=program.eos_id, max_characters=characters_kept(max_length),
        max_target_characters=characters_kept(max_target),
        program=vars(program),
    )  # fmt: skip


def assembly_of(
    trunk: PreTrainedModel, tokenizer: Tokenizer, facts: TextToTextFacts, decision: "Decision", fresh: frozenset[str]
) -> Assembly:
    """A model with what is needed to feed it."""
    program = Seq2SeqFacts(**facts.program)
    return Assembly(
        model=Translator(trunk).eval(), encoder=TextToTextEncoder(tokenizer, facts), graph=whole_graph(program),
        decision=decision, fresh=fresh, facts={"max_length": facts.max_length},
        program=opened(facts.program, whole_graph(program)),
        nets=lambda model: seq2seq.nets_of(cast(PreTrainedModel, model.trunk)), traced=seq2seq.example_of(program),
    )  # fmt: skip


def save_tokenizer(tokenizer: Tokenizer, folder: Path, facts: TextToTextFacts) -> None:
    """Write tokenizer.json, and what transformers reads beside it."""
    pad, end = (tokenizer.id_to_token(number) for number in (facts.pad_id, facts.eos_id))
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=pad, eos_token=end, model_max_length=facts.max_length
    )
    text.save_tokenizer(fast, folder, facts.max_length)


def save(assembly: Assembly, folder: Path, record: Mapping[str, Any]) -> None:
    """Write a plain model folder: encoder, decoder, tokenizer, and tunedeploy.json with a record."""
    trunk: Any = assembly.model.trunk
    encoder: Any = assembly.encoder
    facts = facts_from(encoder.facts)
    greedy: Any = GenerationConfig  # as the loop on a device, for whoever generates with the folder
    trunk.generation_config = greedy(
        max_new_tokens=facts.max_target_length, num_beams=1, do_sample=False, decoder_start_token_id=facts.start_id,
        eos_token_id=facts.eos_id, pad_token_id=facts.pad_id,
    )  # fmt: skip
    with loading.quiet():
        trunk.save_pretrained(folder)
        save_tokenizer(encoder.tokenizer, folder, facts)
    write_json(folder / text_folder.FILE, {**record, **assembly.facts, "encoder": encoder.facts})


def load(folder: Path, decision: "Decision") -> Assembly:
    """Read back what `save` wrote."""
    facts = facts_from(text_folder.record_of(folder)["encoder"])
    trunk = loading.open_seq2seq(Source(scheme="hf", name=str(folder)))
    return assembly_of(trunk, Tokenizer.from_file(str(folder / "tokenizer.json")), facts, decision, frozenset())
