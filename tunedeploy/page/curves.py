"""Learning curves: the losses in one picture, the metric in another, with the epoch that was kept."""

import math
from collections.abc import Mapping, Sequence

from tunedeploy.page.axes import BOTTOM, HEIGHT, TOP, Axes, drawing, span
from tunedeploy.page.markup import Html, join, tag
from tunedeploy.page.story import Story

CLASSES = ("first", "second")
WORDS = {"train_loss": "loss on training rows", "eval_loss": "loss on evaluation rows"}


def curves(story: Story) -> Html:
    """Both pictures; a sentence where there was no epoch."""
    losses = [key for key in WORDS if any(key in epoch for epoch in story.history)]
    metric = [story.metric.name] if any(story.metric.name in epoch for epoch in story.history) else []
    figures = [curve(story.history, keys, story.best_epoch) for keys in (losses, metric) if keys]
    if not figures:
        return tag("p", "The model was not trained over epochs.", class_="muted")
    kept = f"Dotted: epoch {story.best_epoch}, the weights of which were kept."
    return join((tag("div", *figures, class_="pair"), tag("p", kept, class_="muted")))


def curve(history: Sequence[Mapping[str, float]], keys: Sequence[str], best: int) -> Html:
    """One picture of up to two columns of the history."""
    lines = {key: points(history, key) for key in keys}
    values = [value for line in lines.values() for _, value in line]
    if not values:
        return Html("")
    axes = Axes(x=(0.7, max(len(history), 1) + 0.3), y=span(values))
    parts = [axes.frame("epoch", whole=True), best_line(axes, best)]
    for class_, (key, line) in zip(CLASSES, lines.items(), strict=False):
        parts.append(axes.line(line, class_))
        parts += [axes.dot(at, f"{WORDS.get(key, key)}: {at[1]:.4g} in epoch {at[0]:g}", class_=class_) for at in line]
    legend = [
        join((tag("span", class_=f"key {class_}"), WORDS.get(key, key)))
        for class_, key in zip(CLASSES, keys, strict=False)
    ]
    caption = tag("figcaption", *legend)
    return tag("figure", drawing(*parts, label=f"{', '.join(WORDS.get(key, key) for key in keys)} by epoch"), caption)


def points(history: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    """Epoch and value, where there is a finite one."""
    each = ((float(at), epoch.get(key, math.nan)) for at, epoch in enumerate(history, start=1))
    return [point for point in each if math.isfinite(point[1])]


def best_line(axes: Axes, best: int) -> Html:
    """The epoch whose weights were kept."""
    x, _ = axes.place(best, axes.y[0])
    return tag("line", tag("title", f"epoch {best} was kept"), x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="best")
