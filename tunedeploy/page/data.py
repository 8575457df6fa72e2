"""The data: how many rows each class has, and what the doctor saw."""

from collections.abc import Mapping

from tunedeploy.page.markup import Html, foreign, items, join, tag
from tunedeploy.run.planned import SeenData, SeenFinding

LARGEST, SMALLEST = 12, 6  # classes that are shown of very many


def balance(classes: Mapping[str, Mapping[str, int]], counted: tuple[str, str]) -> Html:
    """Bars of each class in both splits, the largest first; of very many the largest and the smallest."""
    train, held_out = classes.get("train", {}), classes.get("eval", {})
    names = sorted(train, key=lambda name: -train[name])
    left_out = len(names) - LARGEST - SMALLEST
    most = max((*train.values(), *held_out.values(), 1))
    bars = [bar(name, (train[name], held_out.get(name, 0)), most) for name in names]
    if left_out > 0:
        between = tag("p", f"… {left_out} {counted[0]} between …", class_="muted")
        bars = [*bars[:LARGEST], between, *bars[-SMALLEST:]]
    legend = (
        tag("span", class_="key first"), f"training {counted[1]}", tag("span", class_="key second"),
        f"evaluation {counted[1]}",
    )  # fmt: skip
    return join((*bars, tag("p", *legend, class_="muted")))


def bar(name: str, counts: tuple[int, int], most: int) -> Html:
    """One class."""
    each = (
        tag("i", class_=kind, style=f"width:{100 * count / most:.1f}%")
        for kind, count in zip(("first", "second"), counts, strict=True)
    )
    return tag(
        "div", tag("b", foreign(name)), tag("span", *each), tag("small", f"{counts[0]:,} / {counts[1]:,}"), class_="bar"
    )


def findings(doctor: SeenData) -> Html:
    """What the doctor saw, warnings first, with places in the user's files; and the notes of reading."""
    lines = [finding(entry) for entry in doctor.get("findings", [])]
    lines += [join(("note: ", foreign(note))) for note in doctor.get("notes", [])]
    return items(lines) if lines else tag("p", "Nothing to report.", class_="muted")


def finding(entry: SeenFinding) -> Html:
    """One finding."""
    mark = tag("span", "warning: ", class_="bad") if entry["severity"] == "warning" else ""
    examples = [foreign(example) for example in entry["examples"]]
    places = [part for example in examples for part in (", ", example)][1:]
    return join((mark, foreign(entry["text"]), tag("span", " e.g. ", *places, class_="muted") if examples else ""))
