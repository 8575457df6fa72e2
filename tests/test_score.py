"""What eval gives of answers that are already there."""

import numpy as np

from tunedeploy.commands.score import score_of
from tunedeploy.device.decisions import Answers, open_decision
from tunedeploy.device.decisions.text import CERTAINTY, WIDTH

ROWS = [{"target": "A", "text": "a", "origin": "x.csv:2"}, {"target": "b", "text": "b", "origin": "x.csv:3"}]


def of_texts(texts: tuple[str, ...] | None) -> Answers:
    evidence = np.zeros((2, WIDTH), np.float32)
    evidence[:, CERTAINTY] = [-2.0, -1.0]
    return Answers(evidence=evidence, row=np.arange(2), place=np.zeros(2, np.int64), texts=texts)


def test_where_no_texts_were_written_eval_does_not_say_that_none_is_wrong() -> None:
    decision = open_decision({"kind": "text"}, ())
    silent = score_of(of_texts(None), ROWS, decision=decision, metric="token_accuracy")
    assert (silent["value"], "wrong" in silent) == (100.0, False)
    told = score_of(of_texts(("a", "b")), ROWS, decision=decision, metric="token_accuracy")
    assert [(entry["row"], entry["true"], entry["answer"]) for entry in told["wrong"]] == [(0, "A", "a")]
    assert score_of(of_texts(("A", "b")), ROWS, decision=decision, metric="token_accuracy")["wrong"] == []
