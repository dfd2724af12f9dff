"""A page opened in headless Chromium, driven through DevTools over two pipes: what it says, asks for and shows.

Needs Chromium or Chrome and nothing else; on systems with posix_spawn.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_PATIENCE_S = 60.0


def chromium() -> str | None:
    """The program, where one is installed."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """A browser process with one page. console: what the page and the browser said, as (level, text).

    asked: addresses that were asked for.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.console: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self._count, self._session, self._rest = 0, "", b""
        self._events: list[dict[str, Any]] = []
        there, self._out = os.pipe()
        self._in, back = os.pipe()
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, 20) for each in (there, back)]
        actions = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
        arguments = [program, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        self._pid = os.posix_spawn(program, arguments, dict(os.environ), file_actions=actions, setpgroup=0)
        for each in (there, back, *high):
            os.close(each)

    def open(self, path: Path, width: int = 1280, height: int = 900, dense: float = 1.0) -> None:
        """Load a file and wait until it has loaded. Raises TimeoutError."""
        if not self._session:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        self.resize(width, height, dense)
        self._events.clear()
        self._call("Page.navigate", url=path.resolve().as_uri())
        self._until(lambda: any(each.get("method") == "Page.loadEventFired" for each in self._events))

    def resize(self, width: int, height: int = 900, dense: float = 1.0) -> None:
        """The window, in CSS pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=dense,
            mobile=width < 500,
        )

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, as JSON has it. Raises RuntimeError where it throws."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until a JavaScript expression is true. Raises TimeoutError."""
        self._until(lambda: bool(self.value(expression)))

    def point(self, x: float, y: float) -> None:
        """Move the mouse, as a person would; in CSS pixels of the window."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def wheel(self, x: float, y: float, by: float) -> None:
        """Turn the mouse's wheel; upwards is negative."""
        self._call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by)

    def press(self, key: str, code: int) -> None:
        """A key by its name in the DOM and its virtual key code."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def without_script(self) -> None:
        """From the next page on."""
        self._call("Emulation.setScriptExecutionDisabled", value=True)

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        """The window, or the `whole` page."""
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        """As it is printed, with the page's own paper."""
        printed = self._call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(printed["data"]))
        return path

    def complaints(self) -> list[tuple[str, str]]:
        """Errors and warnings of the console."""
        return [each for each in self.console if each[0] in ("error", "warning", "exception")]

    def close(self) -> None:
        """End the browser and all it started."""
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._session = ""
            self._call("Browser.close")
        for number in (self._out, self._in):
            os.close(number)
        deadline = time.monotonic() + 5
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.killpg(self._pid, signal.SIGKILL)
            time.sleep(0.02)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer: dict[str, Any] = {}

        def answered() -> bool:
            for each in self._events:
                if each.get("id") == number:
                    answer.update(each)
            return bool(answer)

        self._until(answered)
        self._events = [each for each in self._events if "id" not in each]
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        found: dict[str, Any] = answer["result"]
        return found

    def _until(self, done: Any) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the browser did not answer in time")
            if not select.select([self._in], [], [], min(left, 0.05))[0]:
                continue
            received = os.read(self._in, 1 << 20)
            if not received:
                raise RuntimeError("the browser ended")
            *messages, self._rest = (self._rest + received).split(b"\0")
            for each in messages:
                self._note(json.loads(each))

    def _note(self, message: dict[str, Any]) -> None:
        self._events.append(message)
        method, content = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.console.append((content["type"], " ".join(str(each.get("value")) for each in content["args"])))
        elif method == "Runtime.exceptionThrown":
            self.console.append(("exception", json.dumps(content["exceptionDetails"])))
        elif method == "Log.entryAdded":
            self.console.append((content["entry"]["level"], content["entry"]["text"]))
        elif method == "Network.requestWillBeSent":
            self.asked.append(content["request"]["url"])


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser that is gone afterwards, with all it kept. Raises FileNotFoundError where none is installed."""
    program = chromium()
    if program is None:
        raise FileNotFoundError("neither chromium nor chrome is installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        started = Browser(program, Path(name))
        try:
            yield started
        finally:
            started.close()
