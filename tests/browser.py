"""A headless Chromium driven through a pipe by the DevTools protocol, so that no socket is needed to test a page.

Source: chromedevtools.github.io/devtools-protocol, and ``--remote-debugging-pipe``: JSON messages that end in a zero
byte, read by the browser from descriptor 3 and written by it to 4.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """A running browser and the page that it shows.

    Attributes:
        events: what the browser told of the page, oldest first: method and parameters.
    """

    def __init__(self, write_to: int, read_from: int) -> None:
        self._write_to, self._read_from = write_to, read_from
        self._n_sent, self._buffer, self._session = 0, b"", None
        self.events: list[tuple[str, dict[str, Any]]] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write_to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._n_sent:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append((answer["method"], answer.get("params", {})))

    def open(self, path: Path, size: tuple[int, int] = (1200, 900)) -> None:
        """Open a local file in a window of a size, and wait until it is loaded."""
        self._session, self.events = None, []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            message = self._receive()
            if "method" in message:
                self.events.append((message["method"], message.get("params", {})))

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page and return its value."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Move, press, release or turn the wheel at a place of the window."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def screenshot(self) -> bytes:
        """Return what is seen as a PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def complaints(self) -> list[str]:
        """Return what the browser logged: refused by the policy, or thrown by a script."""
        self.run("0")
        logged = [event["entry"]["text"] for method, event in self.events if method == "Log.entryAdded"]
        thrown = [
            str(event["exceptionDetails"]) for method, event in self.events if method == "Runtime.exceptionThrown"
        ]
        return logged + thrown

    def requested(self) -> list[str]:
        """Return the addresses that the page asked for, other than its own data."""
        asked = [event["request"]["url"] for method, event in self.events if method == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read_from, 1 << 16)
            assert part, "the browser went away"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextmanager
def start_browser(profile: Path) -> Iterator[Browser]:
    """Start a headless browser with a profile of its own, in a new folder."""
    assert CHROMIUM
    (read_commands, write_commands), (read_events, write_events) = os.pipe(), os.pipe()
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    command = [CHROMIUM, *options, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    # Bash gives the pipes the descriptors that the browser looks for.
    shell = f'exec "$0" "$@" 3<&{read_commands} 4>&{write_events}'
    browser = subprocess.Popen(
        ["bash", "-c", shell, *command],
        pass_fds=(read_commands, write_events),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_events)
    try:
        yield Browser(write_commands, read_events)
    finally:
        browser.kill()
        browser.wait()
        os.close(write_commands)
        os.close(read_events)
