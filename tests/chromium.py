"""Debian's Chromium without a window, driven over two pipes: what a page looks like, and what it complains of."""

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BINARY = shutil.which("chromium")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-extensions", "--hide-scrollbars",
         "--remote-debugging-pipe")  # fmt: skip
PATIENCE = 60
READS, WRITES = 3, 4  # the numbers under which the browser looks for its two pipes


class Browser:
    """A running browser. Messages are JSON, each ended by a zero byte, by the DevTools protocol."""

    def __init__(self, to: int, back: int) -> None:
        self.to, self.back, self.rest, self.number = to, back, b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer; what the browser tells meanwhile is kept in `events`."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        os.write(self.to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            received = self.message()
            if received.get("id") == self.number:
                assert "error" not in received, received
                result: dict[str, Any] = received["result"]
                return result

    def message(self) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self.rest:
            assert select.select([self.back], [], [], PATIENCE)[0], f"chromium has said nothing for {PATIENCE} s"
            part = os.read(self.back, 1 << 16)
            assert part, "chromium has ended"
            self.rest += part
        first, _, self.rest = self.rest.partition(b"\0")
        received: dict[str, Any] = json.loads(first)
        if "method" in received:
            self.events.append(received)
        return received

    def open(self, page: Path, *, width: int, scheme: str) -> "Tab":
        """A page in a window so many pixels wide, in a `light` or a `dark` system; returns when it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        self.call("Emulation.setDeviceMetricsOverride", session, width=width, height=800, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", session, features=features)
        self.events.clear()
        self.call("Page.navigate", session, url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.message()
        return Tab(lambda method, **params: self.call(method, session, **params), self.events)


class Tab:
    """A page that has loaded."""

    def __init__(self, call: Callable[..., dict[str, Any]], events: list[dict[str, Any]]) -> None:
        self.call, self.events = call, events

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives; it runs whatever the page's own policy is."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Console messages, log entries and exceptions since the page began to load."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in kinds]

    def requests(self) -> list[str]:
        """Addresses that were asked for, but those of data in the page itself."""
        sent = [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in sent if not url.startswith("data:")]

    def picture(self, path: Path, *, height: int | None = None) -> None:
        """Write the page, or its uppermost pixels, as a PNG file."""
        pixels = height or self.value("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": self.value("innerWidth"), "height": pixels, "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in an empty folder; it is ended at the end."""
    assert BINARY is not None
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    wiring = f'exec {READS}<&{theirs_in} {WRITES}>&{theirs_out}; exec "$@"'
    command = ["bash", "-c", wiring, "bash", BINARY, *FLAGS, f"--user-data-dir={profile}"]
    with (profile / "chromium.log").open("wb") as log:
        running = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stderr=log, stdout=log)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        started = Browser(ours_out, ours_in)
        yield started
        started.call("Browser.close")
    finally:
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        os.close(ours_in)
        os.close(ours_out)
