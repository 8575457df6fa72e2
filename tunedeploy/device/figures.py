"""Figures as people read them: with two digits where they count points of a hundred, else with four."""


def value_text(value: float, unit: str) -> str:
    """A metric: "90.29 %", or "0.8612"."""
    return f"{value:.2f} {unit}" if unit == "%" else f"{value:.4f}"


def loss_text(value: float, unit: str) -> str:
    """What a metric lost: "0.17 points", or "0.0021"."""
    return f"{value:.2f} points" if unit == "%" else f"{value:.4f}"


def digits(unit: str) -> int:
    """Digits behind the point of a metric in a table."""
    return 2 if unit == "%" else 4
