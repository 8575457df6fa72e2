"""Translation: texts are written token by token, the same by torch and by the files an app ships."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from transformers import PreTrainedModel

from tests.finished import Finished
from tests.tiny import Tiny, TinyTask
from tunedeploy import api
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.bundle import load_bundle
from tunedeploy.device.files import read_json
from tunedeploy.errors import ModelError, RecipeError, RunError
from tunedeploy.models import seq2seq, start, translator
from tunedeploy.models.runs import torch_run
from tunedeploy.proof.graph_sets import first_differences
from tunedeploy.recipe.read import read as read_recipe
from tunedeploy.run.atomic import write_json
from tunedeploy.tasks import translation

Finisher = Callable[[str], Finished]
NOUNS = {"cat": "chat", "dog": "chien", "house": "maison", "bird": "oiseau", "school": "école"}
VERBS = {"sees": "voit", "eats": "mange", "finds": "trouve"}
COLOURS = {"green": "vert", "red": "rouge", "black": "noir"}
WORDS = {"the": "le", **NOUNS, **VERBS, **COLOURS}


def pairs(path: Path, *, rows: int = 60, seed: int = 0) -> Path:
    """A csv file of sentences of six words and their translations, in which the colour follows its noun."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["en", "fr"])
        for _ in range(rows):
            first, second, verb, colour = (str(rng.choice(list(words))) for words in (NOUNS, NOUNS, VERBS, COLOURS))
            french = f"le {NOUNS[first]} {VERBS[verb]} le {NOUNS[second]} {COLOURS[colour]}"
            writer.writerow([f"the {first} {verb} the {colour} {second}", french])
    return path


SIZE = {"width": 32, "layers": 1, "vocabulary": 340}
TINY = TinyTask(
    data=lambda folder: pairs(folder / "pairs.csv"),
    model=lambda folder: marian(folder / "marian"),
    row={"text": "the red house eats the cat", "target": "le chat"},
    answer=frozenset({"text"}),
    finished={"tune": {"method": "full"}, "train": {"epochs": 24, "lr": 0.005, "batch_size": 16}},
    finished_data=lambda folder: pairs(folder / "rows.csv", rows=300),
    labels=0,
    refused={"last-layer": "no head beside its trunk; set tune.method: full or lora"},
)


def marian(folder: Path) -> Path:
    """A checkpoint of one layer on each side, with random weights and a tokenizer of the words above."""
    tokenizer = seq2seq.train_tokenizer([*WORDS, *WORDS.values()] * 4, size=340, max_length=24)
    torch.manual_seed(0)
    model = seq2seq.small_marian(tokenizer, width=64, layers=1, positions=24)
    model.save_pretrained(folder)
    translator.save_tokenizer(tokenizer, folder, translator.facts_of(model, tokenizer, 24, 24))
    return folder


def test_a_new_model_is_the_same_for_the_same_seed_and_another_for_another(tiny: Tiny, tmp_path: Path) -> None:
    def weights(seed: int) -> torch.Tensor:
        tune = {"method": "full", **SIZE}
        recipe = tiny.recipe(tmp_path / "r", "translation", model="new://marian", tune=tune, train={"seed": seed})
        trunk = start.base(recipe, data_of(recipe)).model.trunk
        assert isinstance(trunk, PreTrainedModel)
        return torch.cat([parameter.detach().flatten() for parameter in trunk.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_an_architecture_that_is_not_known_is_one_line(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "translation", model="new://gpt", tune={"method": "full"})
    with pytest.raises(RecipeError, match="new://gpt is not known; expected new://marian or new://t5"):
        start.base(recipe, data_of(recipe))


def test_the_loss_is_transformers_own_and_counts_tokens(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "translation")
    data = data_of(recipe)
    assembly = start.base(recipe, data)
    features = assembly.encoder.encode(data.train.select(range(5)))
    batch = {name: torch.from_numpy(value) for name, value in assembly.encoder.collate(features).items()}
    ids = [target["ids"] for target in translation.targets([], features)]
    padded = torch.full((5, max(map(len, ids))), -100)
    for at, row in enumerate(ids):
        padded[at, : len(row)] = torch.from_numpy(row)
    trunk = assembly.model.trunk
    with torch.inference_mode():
        theirs = trunk(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=padded).loss
        logits = assembly.model(**{value.name: batch[value.name] for value in assembly.graph.inputs})
        ours = translation.loss({"logits": logits}, {"ids": padded}, None, {})
    counts = translation.weights([{"ids": row} for row in ids])
    assert float(ours.sum()) / counts.sum() == pytest.approx(float(theirs), rel=1e-5)


def test_a_kept_model_writes_the_same(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "translation")
    data = data_of(recipe)
    assembly = start.base(recipe, data)
    translation.save(assembly, (), tmp_path / "kept")
    again = translation.load(tmp_path / "kept")
    rows = [data.eval[at] for at in range(8)]
    texts = [each.parts.generated(torch_run(each), rows) for each in (assembly, again)]
    assert texts[0] == texts[1]


def test_the_bundle_writes_what_training_wrote_and_bleu_is_sacrebleus(finished: Finisher) -> None:
    run = finished("translation")
    recipe = api.recipe_of(run.run)
    rows = list(data_of(recipe).eval)
    bundle = load_bundle(run.dist)
    texts = [answer["text"] for answer in bundle.predict(rows)]
    right = [row["target"] for row in rows]
    bleu = sacrebleu.corpus_bleu(texts, [right]).score
    assert bleu > 5  # it writes other words for other sentences
    assert bleu == pytest.approx(bundle.manifest["value"], abs=1e-3)
    assert bleu == pytest.approx(bundle.score(rows), abs=1e-6)


def test_a_text_is_written_the_same_alone_and_beside_longer_ones(finished: Finisher) -> None:
    bundle = load_bundle(finished("translation").dist)
    texts = ["cat", "the cat sees the red dog", "🙂\r\nschool", "", "the " * 60]
    assert [bundle.predict([text])[0] for text in texts] == bundle.predict(texts)


def test_rows_that_ended_at_the_same_step_are_equal_whatever_pads_them() -> None:
    ours = np.array([[5, 1, 9, 9], [5, 6, 7, 1]])
    assert first_differences(ours, ours, 9) == []
    assert first_differences(ours[:1], ours[:1, :2], 9) == []
    assert first_differences(ours, np.array([[5, 1, 9, 9], [5, 8, 7, 1]]), 9) == [(1, 1)]
    assert first_differences(ours[1:], np.array([[5, 6, 1]]), 9) == [(0, 2)]
    assert first_differences(ours[1:], np.array([[5, 6]]), 9) == [(0, 2)]
    assert first_differences(np.array([[5, 1]]), np.array([[5, 9]]), 9) == [(0, 1)]  # it ended, or goes on as padding


def test_new_models_and_checkpoints_have_defaults_of_their_own(tiny: Tiny, tmp_path: Path) -> None:
    def rates(model: str) -> tuple[float, int, str]:
        path = tiny.write(tmp_path / "r.yaml", "translation", model=model, tune={"method": "full"})
        path.write_text(path.read_text(encoding="utf-8").replace("  epochs: 1\n", "").replace("  batch_size: 8\n", ""))
        recipe = read_recipe(path)
        return recipe.train.lr, recipe.train.batch_size, recipe.sources["train.lr"]

    assert rates("new://marian") == (1e-3, 64, "default of translation with full, new model")
    assert rates(str(tiny.of("translation", "model"))) == (5e-5, 32, "default of full")


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_a_new_model_is_for_translation_alone(task: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task, model="new://marian", tune={"method": "full"})
    with pytest.raises((RecipeError, ModelError), match="is for translation"):
        start.base(recipe, data_of(recipe))


def test_sizes_for_a_checkpoint_and_augmentation_are_not_passed_over(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "translation", tune={"method": "full", "width": 64})
    assert start.base(recipe, data_of(recipe)).notes == ("tune.width: not used, since a checkpoint has its own sizes",)
    recipe = tiny.recipe(tmp_path / "r.yaml", "translation", train={"augment": "light"})
    with pytest.raises(RecipeError, match="is for images"):
        start.base(recipe, data_of(recipe))


def test_a_bundle_says_how_its_texts_are_generated_to_whoever_reads_its_folder(finished: Finisher) -> None:
    settings = read_json(finished("translation").dist / "generation_config.json")
    program = read_json(finished("translation").dist / "manifest.json")["program"]
    assert settings["max_new_tokens"] == program["max_new_tokens"]
    assert settings["eos_token_id"] == program["eos_id"]
    assert settings.get("num_beams", 1) == 1


def test_rows_without_a_right_answer_are_written_and_not_scored(finished: Finisher) -> None:
    bundle = load_bundle(finished("translation").dist)
    rows = [{"text": "the cat sees the red dog", "target": "le chat"}, {"text": "the house"}]
    assert len(bundle.predict(rows)) == 2
    with pytest.raises(RunError, match="a row has no target"):
        bundle.score(rows)


def test_a_program_that_is_not_the_preprocessing_s_is_one_line(finished: Finisher, tmp_path: Path) -> None:
    dist = finished("translation").copy(tmp_path).dist
    manifest = read_json(dist / "manifest.json")
    manifest["program"]["eos_id"] += 1
    write_json(dist / "manifest.json", manifest)
    with pytest.raises(RunError, match=r"program: differs from preprocessing\.program"):
        load_bundle(dist).predict(["the cat"])
