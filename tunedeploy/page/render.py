"""The order of the page: how good, what is wrong, which file to ship and what it costs; then pictures; then records."""

from tunedeploy.device.figures import value_text
from tunedeploy.device.review import Confusion
from tunedeploy.page import answers, curves, data, ledger, rows, variants
from tunedeploy.page.markup import Html, folded, foreign, items, join, section, table, tag
from tunedeploy.page.story import Story
from tunedeploy.page.style import POLICY, STYLE

FEW = 3  # mistakes on the first screen
NO_ROWS = "The data has changed since training, so none of its rows are shown."

UNVERIFIED = (
    "The files of this run are not those that were last verified and bundled, since an export was interrupted or files "
    "were changed. 'tunedeploy export' finishes it."
)


def page(story: Story) -> str:
    """The whole file."""
    value = value_text(story.variants[story.choice.variant]["metric"], story.metric.unit)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"tunedeploy report: {story.metric.name} {value}, {story.task}"),
        tag("style", Html(STYLE)),
    )
    body = tag("body", header(story, value), first_screen(story), pictures(story), records(story))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def header(story: Story, value: str) -> Html:
    """The one number, and what it is of."""
    of = f"{story.rows.get('eval', 0):,} evaluation rows"
    return tag(
        "header",
        tag("p", " · ".join((story.task, story.model, story.method)), class_="muted"),
        tag("h1", f"{story.metric.name} {value}"),
        tag(
            "p",
            f"{story.choice.variant} on {of} (", foreign(story.eval_source),
            f"), tuned on {story.rows.get('train', 0):,} rows. The epoch and the settings were chosen on the same "
            "evaluation rows; rows that were never seen are scored with ", tag("code", "tunedeploy eval"), ".",
        ),
    )  # fmt: skip


def first_screen(story: Story) -> Html:
    """Four answers."""
    return tag(
        "div",
        ship(story) if story.may_ship else alarm(story),
        section("How good is it?", variants.scores(story)),
        section("What does it get wrong?", wrong(story)),
        section("How large and how fast is it?", variants.sizes(story)),
        class_="grid",
    )


def ship(story: Story) -> Html:
    """Which file, and why."""
    files = [tag("code", file, class_="file") for file in story.files[story.choice.variant]]
    return section(f"Ship {story.choice.variant}", *files, items(story.choice.reasons))


def alarm(story: Story) -> Html:
    """What a run with a breach, or one that is not verified, says instead."""
    if not story.breaches:
        return section("Do not ship: not verified", tag("p", UNVERIFIED), class_="alarm")
    names = [f"{entry['file']}: {entry['name']}" for entry in story.breaches[:FEW]]
    count = len(story.breaches)
    title = f"Do not ship: {count} comparison{'' if count == 1 else 's'} broke the limit"
    return section(title, items(names), class_="alarm")


def wrong(story: Story) -> Html:
    """The pairs that are confused most, or the worst rows where there are no classes."""
    if story.reviewed is None:
        return tag("p", NO_ROWS, class_="muted")
    review = story.reviewed.review
    lines: list[Html] = []
    if isinstance(review.picture, Confusion):
        pairs = review.picture.most_frequent(FEW)
        unit = review.picture.unit
        lines = [
            join((foreign(right), " taken for ", foreign(given), f": {count} {unit if count > 1 else unit[:-1]}"))
            for right, given, count in pairs
        ]
    else:
        lines = [
            join(
                (
                    tag("span", foreign(mistake.given), class_="off"),
                    " instead of ",
                    tag("span", foreign(mistake.right), class_="good"),
                )
            )
            for mistake in (review.mistakes or ())[:FEW]
        ]
    return join((tag("p", f"{review.summary[:1].upper()}{review.summary[1:]}."), items(lines) if lines else ""))


def pictures(story: Story) -> Html:
    """Curves, answers, sizes and classes, side by side where there is room, and the worst rows."""
    reviewed = story.reviewed
    parts = []
    if reviewed is not None and reviewed.review.picture is not None:
        title = (
            "What is taken for what" if isinstance(reviewed.review.picture, Confusion) else "Given and right numbers"
        )
        parts.append(section(title, answers.picture(reviewed.review.picture)))
    parts.append(section("Size, speed and quality", variants.trade(story)))
    classes = story.doctor.get("classes", {})
    if classes.get("train"):
        parts.append(section(f"{story.counted[0].capitalize()} in the data", data.balance(classes, story.counted)))
    parts.append(section("Data doctor", data.findings(story.doctor)))
    shown = tag("p", NO_ROWS, class_="muted") if reviewed is None else rows.mistakes(reviewed)
    return join(
        (
            section("Learning curves", curves.curves(story)),
            tag("div", *parts, class_="grid"),
            section("The most wrong rows", shown),
        )
    )


def records(story: Story) -> Html:
    """What is folded away: the ledger, the training report, the recipe and the times."""
    seconds = [(name, f"{taken:.1f}") for name, taken in story.seconds.items()]
    return join(
        (
            ledger.ledger(story.ledger),
            folded("Report of the training", tag("pre", story.text)),
            folded("Recipe", table(("key", "value", "from"), story.recipe, class_="stack")),
            folded("Seconds of each stage", table(("stage", "seconds"), seconds)),
        )
    )
