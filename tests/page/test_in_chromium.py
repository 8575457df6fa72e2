"""The page in a real browser: from a phone's width on, light and dark, without a complaint and without a request."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chromium import BINARY, Browser, browser
from tests.finished import TASKS, Finished
from tests.page.test_report import hostile, story_of
from tunedeploy.page.render import page

pytestmark = pytest.mark.skipif(BINARY is None, reason="no 'chromium' on PATH; apt-get install chromium brings it")
# Elements that stick out of the window at the right, but those that scroll on their own.
OUTSIDE = """[...document.querySelectorAll('body *')].filter(e => !e.closest('pre') && !e.closest('svg')
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"""
OPENED = "document.querySelectorAll('details').forEach(e => e.open = true), document.querySelectorAll('details').length"
VIEWS = [(width, scheme) for width in (400, 1280, 1920) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def check(chromium: Browser, path: Path) -> None:
    """The page fits at every width, with all that is folded opened, and its colours follow the system."""
    grounds = {}
    for width, scheme in VIEWS:
        tab = chromium.open(path, width=width, scheme=scheme)
        assert tab.value(OPENED) == 4
        assert tab.value("innerWidth") == width
        assert tab.value("document.documentElement.scrollWidth") == width
        assert tab.value(OUTSIDE) == []
        assert tab.complaints() == []
        assert tab.requests() == [path.as_uri()]
        assert tab.value("document.scripts.length") == 0
        grounds[scheme] = tab.value("getComputedStyle(document.body).backgroundColor")
        if width == 1280:  # the four answers are on the first screen
            assert tab.value("document.querySelector('.grid').getBoundingClientRect().bottom") < 800
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 19, 24)"}


@pytest.mark.parametrize("task", TASKS)
def test_the_page_fits_a_phone_and_a_wide_screen_in_light_and_dark(
    task: str, finished: Callable[[str], Finished], chromium: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(story_of(finished(task))), encoding="utf-8")
    check(chromium, path)


def test_hostile_labels_and_texts_run_nothing_and_break_nothing(
    finished: Callable[[str], Finished], chromium: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(hostile(story_of(finished("text-classification")))), encoding="utf-8")
    check(chromium, path)


def test_a_script_and_an_address_would_be_refused_and_noticed(
    finished: Callable[[str], Finished], chromium: Browser, tmp_path: Path
) -> None:
    text = page(story_of(finished("text-classification")))
    path = tmp_path / "report.html"
    path.write_text(text.replace("</body>", "<script>document.title = 'run'</script><img src=x.png></body>"), "utf-8")
    tab = chromium.open(path, width=400, scheme="light")
    assert tab.value("document.title").startswith("tunedeploy report: ")
    assert sum("Content Security Policy" in line for line in tab.complaints()) >= 2
    wide = path.with_name("wide.html")
    wide.write_text(text.replace("</body>", "<p style='width:1500px'>wide</p></body>"), "utf-8")
    tab = chromium.open(wide, width=1280, scheme="light")
    assert tab.value("document.documentElement.scrollWidth") > 1280
    assert any(line.startswith("P wide") for line in tab.value(OUTSIDE))
