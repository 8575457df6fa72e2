"""Whatever `markup` does not make is text: no label and no row of a user's data is read as HTML."""

import math

import pytest

from tunedeploy.page.axes import span, ticks
from tunedeploy.page.markup import Html, foreign, table, tag

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'so'"


def test_text_is_escaped_where_it_stands_and_in_attributes() -> None:
    markup = tag("p", HOSTILE, title=HOSTILE, class_="a")
    assert "<script" not in markup
    assert markup.count("&lt;script&gt;") == 2
    assert markup.startswith('<p title="&lt;script') and "&quot;quoted&quot;" in markup
    assert tag("p", tag("b", "x")) == "<p><b>x</b></p>"
    assert "<script" not in table((HOSTILE,), [(HOSTILE,)])


def test_what_no_page_may_hold_is_replaced() -> None:
    markup = foreign("a\x00b\x1b\ud800")
    assert markup == "<bdi>a\ufffdb\ufffd?</bdi>"
    markup.encode()


def test_a_book_is_cut() -> None:
    assert len(foreign("word " * 10_000)) < 700


def test_an_attribute_that_is_none_is_left_out_and_an_image_has_no_end() -> None:
    assert tag("img", src="data:,", alt="", width=None) == '<img src="data:," alt="">'
    assert isinstance(tag("g"), Html)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 5417), (89.9, 90.1), (1e-9, 2e-9), (-1e300, 1e300), (1e12, 1e12)], ids=repr
)
def test_every_range_has_a_few_round_numbers(low: float, high: float) -> None:
    low, high = span([low, high])
    values = ticks(low, high)
    assert 2 <= len(values) <= 6
    assert all(math.isfinite(value) and low <= value <= high for value in values)
