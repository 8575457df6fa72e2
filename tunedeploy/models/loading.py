"""Open model files that others wrote: none of their code runs, and whatever is wrong with them is a ModelError."""

import contextlib
import copy
import inspect
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import tunedeploy
from tunedeploy.errors import FULL, ModelError, TunedeployError
from tunedeploy.models.memory import bounded

if TYPE_CHECKING:
    from tunedeploy.models.sources import Source

COLOUR_CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LONGEST_LINE = 200  # characters of another library's message
OUT_OF_MEMORY = "DefaultCPUAllocator: "  # how torch's RuntimeError begins when memory runs out
PACKAGE = Path(tunedeploy.__file__).parent
TOO_HIGH = 10**8  # a count of a config.json; above it even a Python list of so many entries takes gigabytes


def open_trunk(source: "Source", attention: str) -> tuple[Any, set[str]]:
    """A checkpoint's trunk in float32 and eval mode, and the names of its tensors that no weights file gave.

    Args:
        source: a folder.
        attention: transformers' implementation; `eager` is taken where a model has no other.

    Raises:
        ModelError: transformers cannot make it, or will not without running the folder's own code, or it is larger
            than any file that could be exported.
    """
    check_counts(source.folder / "config.json")
    with foreign(f"model {source.name!r} cannot be loaded"):
        try:
            with bounded(source):
                trunk, info = AutoModel.from_pretrained(
                    source.name, dtype=torch.float32, attn_implementation=attention, output_loading_info=True,
                    trust_remote_code=False,
                )  # fmt: skip
        except ValueError as error:
            if "attn" not in str(error) or attention == "eager":
                raise
            return open_trunk(source, "eager")
        return trunk.eval(), set(info["missing_keys"])


def open_seq2seq(source: "Source") -> PreTrainedModel:
    """A checkpoint of an encoder and a decoder with its language head, in float32 and eval mode.

    Its attention is written out: as sdpa the relative positions of T5 do not export.

    Raises:
        ModelError: as `open_trunk`, or the checkpoint is of another kind or lacks weights.
    """
    check_counts(source.folder / "config.json")
    with foreign(f"model {source.name!r} cannot be loaded"), bounded(source):
        model, info = AutoModelForSeq2SeqLM.from_pretrained(
            source.name, dtype=torch.float32, attn_implementation="eager", output_loading_info=True,
            trust_remote_code=False,
        )  # fmt: skip
    if info["missing_keys"]:
        missing = min(info["missing_keys"])
        raise ModelError(f"model {source.name!r}: has no weights for {missing}; name a checkpoint that can generate")
    opened: PreTrainedModel = model.eval()
    return opened


def trunk_of_depth(trunk: Any, layers: int) -> Any | None:
    """A trunk of random weights like this one with so many layers; None where its configuration has no such setting."""
    config: Any = copy.deepcopy(getattr(trunk, "config", None))
    depth = getattr(config, "num_hidden_layers", None)
    if not isinstance(depth, int) or depth <= layers:
        return None
    try:
        with foreign("a trunk cannot be cut"), torch.random.fork_rng(devices=[]):
            config.num_hidden_layers = layers
            if isinstance(getattr(config, "layer_types", None), list):
                config.layer_types = config.layer_types[:layers]
            automatic: Any = AutoModel  # its from_config has no types
            shallow = automatic.from_config(
                config, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
            )
    except ModelError:  # Swin's depth is the length of a list, BART's is two numbers
        return None
    if getattr(trunk, "pooler", None) is None and hasattr(shallow, "pooler"):
        shallow.pooler = None
    return shallow.eval()


def open_config(source: "Source") -> Any:
    """A checkpoint's configuration.

    Raises:
        ModelError: transformers cannot read it.
    """
    check_counts(source.folder / "config.json")
    with foreign(f"model {source.name!r} cannot be loaded"):
        return AutoConfig.from_pretrained(source.name, trust_remote_code=False)


def open_fast_tokenizer(source: "Source") -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer.

    Raises:
        ModelError: transformers cannot read it.
    """
    check_counts(source.folder / "config.json")  # transformers may read it for the tokenizer's class
    with foreign(f"model {source.name!r}: its tokenizer cannot be loaded"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.name, trust_remote_code=False)
        return tokenizer


def json_object(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        ModelError: it cannot be read, or holds anything else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is not JSON: {first_line(error)}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected an object of settings, got a {type(value).__name__}")
    return value


def count_at(settings: Mapping[str, Any], key: str, path: Path) -> int | None:
    """A positive whole number of a model's settings; None where it is left out or null.

    Raises:
        ModelError: it is anything else.
    """
    value = settings.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"{path}: {key}: expected a positive whole number, got {json.dumps(value)[:40]}")
    return value


def check_counts(path: Path) -> None:
    """Refuse a config.json with a count that no model has, before a list of that length is made of it.

    Only settings of the architecture are made into anything: a training run's seed, time or number of tokens is not.
    """
    config = json_object(path)
    known = settings_of(config.get("model_type"))
    places = [(key, value) for key, value in config.items() if known is None or key in known]
    while places:
        key, value = places.pop()
        if isinstance(value, dict):
            places += value.items()
        elif isinstance(value, list):
            places += [(key, item) for item in value]
        elif isinstance(value, int) and abs(value) > TOO_HIGH and "theta" not in key:  # rope_theta is a wave length
            raise ModelError(f"{path}: {key} is {value}, and no model has so many")


def settings_of(model_type: Any) -> set[str] | None:
    """What transformers reads from the config.json of an architecture; None where it does not know the architecture."""
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return None
    architecture: Any = CONFIG_MAPPING[model_type]
    names = {"num_labels", *architecture.attribute_map}
    for base in architecture.__mro__:
        names |= set(inspect.signature(base.__init__).parameters)
    return names


@contextlib.contextmanager
def foreign(problem: str, *, probe: bool = False) -> Iterator[None]:
    """Run third-party code on third-party files: what it raises becomes a ModelError of one line.

    transformers, timm and torchvision raise whatever Python raises when a file is not what they expect, and tokenizers
    panics, which is not even an Exception. A full disk, a file that cannot be opened, running out of memory and
    an error of our own code are raised unchanged.

    Args:
        problem: how the line begins.
        probe: whether code of ours runs inside to find out if a model fits it, so that its errors are the model's.

    Raises:
        ModelError: with the first line of their message.
        MemoryError: the memory is used up, also where torch raises a RuntimeError for it.
    """
    with quiet():
        try:
            yield
        except (TunedeployError, MemoryError):
            raise
        except BaseException as error:
            if OUT_OF_MEMORY in str(error):
                raise MemoryError(first_line(error)) from error
            if keeps_its_kind(error) or (not probe and is_ours(error)):
                raise
            if "trust_remote_code" in str(error):
                cure = "name a model whose architecture transformers has"
                raise ModelError(
                    f"{problem}: it needs code of its own (auto_map), which is never run; {cure}"
                ) from error
            raise ModelError(f"{problem}: {type(error).__name__}: {first_line(error)}") from error


def keeps_its_kind(error: BaseException) -> bool:
    """Whether an error is the system's or the user's own: of a disk or of a named file, or an interruption.

    transformers raises an OSError of its own, without a number, where a model lacks a file.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.filename is not None or error.errno in FULL
    return not isinstance(error, Exception) and type(error).__name__ != "PanicException"


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised by a line of this package, and not by torch on its behalf (RuntimeError)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else trace.tb_frame.f_code.co_filename
    return Path(place).is_relative_to(PACKAGE) and type(error) is not RuntimeError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars, load reports, prints and warnings off the terminal for a while."""
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity(logging.CRITICAL)
    switch: Any = transformers.logging
    switch.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # on how a checkpoint was made; the user cannot act on it
            yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            switch.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The first line of another library's message, to quote in ours: without colours, and not cut off at a colon."""
    text = COLOUR_CODES.sub("", str(error)).strip() or type(error).__name__
    line = " ".join(text.splitlines()[0].split())
    if line.endswith(":"):  # its last clause announces the lines that follow
        line = line.rpartition(". ")[0] or line
    line = line.rstrip(" .:;,") or type(error).__name__
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."
