"""The ledger: every comparison with its value, which way its limit goes, and whether it held or was only reported."""

from collections import Counter
from collections.abc import Sequence

from tunedeploy.bundling.card import number
from tunedeploy.page.markup import Html, folded, table, tag
from tunedeploy.run.entries import BREACH, HELD, REPORTED, outcome
from tunedeploy.run.results import Entry

HEAD = ("comparison", "of", "value", "limit", "rows", "outcome")


def limit(entry: Entry) -> str:
    """The limit with its direction."""
    if entry["limit"] is None:
        return "none"
    return f"{'<=' if entry['at_most'] else '>='} {number(entry['limit'])}{entry['unit']}"


def ledger(entries: Sequence[Entry]) -> Html:
    """The table, folded away unless something does not hold."""
    counts = Counter(map(outcome, entries))
    kinds = [f"{counts[kind]} {kind}" for kind in (BREACH, HELD, REPORTED) if counts[kind]]
    classes = {BREACH: "bad", HELD: "good", REPORTED: "muted"}
    rows = [
        (
            entry["name"], f"{entry['stage']}: {entry['file']}", f"{number(entry['value'])}{entry['unit']}",
            limit(entry), entry["rows"], tag("span", outcome(entry), class_=classes[outcome(entry)]),
        )
        for entry in entries
    ]  # fmt: skip
    title = f"Parity ledger: {', '.join([f'{len(entries)} comparisons', *kinds])}"
    return folded(title, table(HEAD, rows, class_="stack figures"), is_open=bool(counts[BREACH]))
