"""The report of a token classifier's training: seqeval's figures of each kind of entity."""

from collections.abc import Mapping, Sequence

import numpy as np
from seqeval.metrics import classification_report

from tunedeploy.device.decisions.tokens import OUTSIDE, entities, scheme_of
from tunedeploy.device.encoders import Array

PREFIXES = ("B-", "I-", "E-", "S-")  # that seqeval reads


def entity_report(
    guesses: Sequence[Array], targets: Sequence[Array], labels: Sequence[str]
) -> tuple[str, dict[str, dict[str, float]]]:
    """Precision, recall and F1 of each kind of entity, as text and as numbers.

    Args:
        guesses: label numbers of each row's words, (words,).
        targets: the right ones.
        labels: their names.
    """
    true, guessed = names(targets, labels), names(guesses, labels)
    if not any(label != OUTSIDE for rows in (true, guessed) for row in rows for label in row):
        return "no entities, neither in the data nor found", {}  # seqeval has no table without a row
    numbers: Mapping[str, Mapping[str, float]] = classification_report(true, guessed, output_dict=True, zero_division=0)
    by_kind = {kind: {name: float(value) for name, value in row.items()} for kind, row in numbers.items()}
    return classification_report(true, guessed, digits=4, zero_division=0).rstrip(), by_kind


def names(rows: Sequence[Array], labels: Sequence[str]) -> list[list[str]]:
    """Labels as seqeval reads them; those of a scheme that it does not know are written in IOB2."""
    if all(label == OUTSIDE or label.startswith(PREFIXES) for label in labels):
        return [[labels[tag] for tag in row] for row in rows]
    scheme = scheme_of(labels)
    written = [np.full(len(row), OUTSIDE, dtype=object) for row in rows]
    for row, tags in zip(written, rows, strict=True):
        for kind, start, end in entities(tags, scheme):
            row[start:end] = f"I-{scheme.names[kind]}"
            row[start] = f"B-{scheme.names[kind]}"
    return [row.tolist() for row in written]
