"""The variants: how good, how large and how fast each is."""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from tunedeploy.device.figures import loss_text, value_text
from tunedeploy.page.axes import LEFT, RIGHT, WIDTH, Axes, drawing, span
from tunedeploy.page.choice import FULL
from tunedeploy.page.markup import Html, join, tag
from tunedeploy.page.story import MetricFacts, Story
from tunedeploy.run.results import Variant

LARGEST = 17.0  # radius of the largest file's circle


def scores(story: Story) -> Html:
    """The metric of each variant; the one to ship stands out."""
    unit = story.metric.unit
    rows = [
        tag(
            "tr",
            tag("td", name),
            tag("td", value_text(variant["metric"], unit)),
            tag("td", "—" if name == FULL else loss_text(variant["drop"], unit)),
            class_="chosen" if story.may_ship and name == story.choice.variant else None,
        )
        for name, variant in story.variants.items()
    ]
    head = tag("tr", *(tag("th", name, scope="col") for name in ("variant", story.metric.name, f"lost against {FULL}")))
    return tag("table", tag("thead", head), tag("tbody", *rows))


def sizes(story: Story) -> Html:
    """Bars of megabytes and of milliseconds for each variant."""
    largest = max(variant["bytes"] for variant in story.variants.values())
    slowest = max(variant["ms"] for variant in story.variants.values())
    bars = []
    for name, variant in story.variants.items():
        lengths = (variant["bytes"] / max(largest, 1), variant["ms"] / max(slowest, 1e-9))
        each = (
            tag("i", class_=kind, style=f"width:{100 * length:.1f}%")
            for kind, length in zip(("first", "second"), lengths, strict=True)
        )
        figures = join((megabytes(variant["bytes"]), tag("br"), milliseconds(variant["ms"])))
        bars.append(tag("div", tag("b", name), tag("span", *each), tag("small", figures), class_="bar"))
    legend = (
        tag("span", class_="key first"),
        "size of its files",
        tag("span", class_="key second"),
        "time for one row",
    )
    return join((*bars, tag("p", *legend, class_="muted")))


def trade(story: Story) -> Html:
    """A circle for each variant and for each setting that was measured and passed over: time, metric and size."""
    tried = tried_of(story.variants)
    every = [*((variant["ms"], variant["metric"]) for variant in story.variants.values()), *tried]
    largest = max(variant["bytes"] for variant in story.variants.values())
    limit = limit_of(story.variants[FULL], story.metric)
    axes = Axes(
        x=(0, 1.3 * max(1e-6, *(ms for ms, _ in every))), y=span([*(value for _, value in every), limit], pad=0.3)
    )
    parts = [axes.frame("milliseconds for one row"), axes.line([(0, limit), (axes.x[1], limit)], "limit")]
    parts += [axes.dot(point, "measured and passed over", class_="passed", radius=4) for point in tried]
    for at, (name, variant) in enumerate(story.variants.items()):
        parts.append(circle(axes, name, variant, (largest, at)))
    upwards = story.metric.better == "higher"
    caption = (
        f"Up is {story.metric.name}{'' if upwards else ', where lower is better'}. The larger the circle, the larger "
        f"the file. {'Below' if upwards else 'Above'} the dashed line a variant would not have been shipped."
        f"{' Grey dots are settings that were measured and passed over.' if tried else ''}"
    )
    svg = drawing(*parts, label=f"{story.metric.name}, milliseconds and size of each variant")
    return tag("figure", svg, tag("figcaption", caption))


def tried_of(variants: Mapping[str, Variant]) -> list[tuple[float, float]]:
    """Milliseconds and metric of each setting that was measured and not taken."""
    attempts: list[Mapping[str, Any]] = [
        dict(entry) for variant in variants.values() for entry in variant.get("tried", [])
    ]
    pairs = [(attempt.get("ms"), attempt.get("metric")) for attempt in attempts]  # a setting without a file has neither
    return [(float(ms), float(metric)) for ms, metric in pairs if is_number(ms) and is_number(metric)]


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a record that nobody has checked can be drawn."""
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1e300


def circle(axes: Axes, name: str, variant: Variant, order: tuple[float, int]) -> Html:
    """A variant's circle with its name; names of neighbours stand above and below."""
    largest, at = order
    radius = max(4.0, LARGEST * (variant["bytes"] / max(largest, 1)) ** 0.5)
    x, y = axes.place(variant["ms"], variant["metric"])
    below = y + radius + 14 if at % 2 else y - radius - 5
    label = f"{name}, {megabytes(variant['bytes'])}"
    inside = min(max(x, LEFT + 3.2 * len(label)), WIDTH - RIGHT - 3.2 * len(label))
    dot = axes.dot((variant["ms"], variant["metric"]), label, class_="first variant", radius=radius)
    return tag("g", dot, tag("text", label, x=inside, y=below, text_anchor="middle", class_="name"))


def limit_of(full: Variant, metric: MetricFacts) -> float:
    """The metric at which a variant has lost all that it may."""
    return full["metric"] - metric.allowed if metric.better == "higher" else full["metric"] + metric.allowed


def megabytes(size: float) -> str:
    """A size as people read it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def milliseconds(value: float) -> str:
    """A time as people read it."""
    return f"{value:.0f} ms" if value >= 100 else f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"
