"""Drive headless Chromium by its DevTools protocol, over a pair of pipes.

Nothing but the standard library: with `--remote-debugging-pipe` Chromium reads
commands from descriptor 3 and writes answers and events to descriptor 4, as
JSON with a zero byte behind each message.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time

# As root, in a container, Chromium has no sandbox to offer.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
)
KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    "Space": (32, " "),
    "End": (35, ""),
    "Home": (36, ""),
    "ArrowLeft": (37, ""),
    "ArrowUp": (38, ""),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
}
CONTROL = 2


def find_chromium():
    """Return the path of a Chromium or Chrome, or `None`."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Chromium:
    """A browser without windows; a context manager that ends it.

    Args:
        path: of the program.
        timeout: float, seconds that any one answer may take.
    """

    def __init__(self, path, timeout=60.0):
        self._timeout = timeout
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._number = 0
        self._unread = b""
        self.pages = {}
        self._process = self._start(path)

    def _start(self, path):
        # Above 9, so that neither is one of the two that Chromium takes.
        commands_in, self._commands = map(_high, os.pipe())
        self._answers, answers_out = map(_high, os.pipe())
        null = [
            (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0)
            for number in (0, 1, 2)
        ]
        process = os.posix_spawn(
            path,
            [path, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            os.environ,
            file_actions=[
                *null,
                (os.POSIX_SPAWN_DUP2, commands_in, 3),
                (os.POSIX_SPAWN_DUP2, answers_out, 4),
            ],
            setpgroup=0,
        )
        os.close(commands_in)
        os.close(answers_out)
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.send("Browser.close")
        except (OSError, RuntimeError, TimeoutError):
            os.killpg(self._process, signal.SIGKILL)
        os.close(self._commands)
        os.close(self._answers)
        os.waitpid(self._process, 0)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, url, **settings):
        """Open a page in a tab of its own: `Page(...)`, then `goto(url)`."""
        page = Page(self, **settings)
        page.goto(url)
        return page

    def send(self, method, session=None, **parameters):
        """Send a command and return its result; events are kept meanwhile."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self._timeout
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == self._number:
                break
            page = self.pages.get(answer.get("sessionId"))
            if page:
                page.note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self, deadline, method):
        while b"\0" not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._answers], [], [], left)[0]:
                raise TimeoutError(f"No answer to {method}.")
            received = os.read(self._answers, 1 << 20)
            if not received:
                raise RuntimeError("Chromium ended.")
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)


class Page:
    """One tab.

    Args:
        browser: `Chromium`.
        width, height: int, size in CSS pixels.
        scheme: `"light"` or `"dark"`.

    Attributes:
        problems: list of str, errors and warnings of the console.
        requests: list of str, URLs that the page asked for.
    """

    def __init__(self, browser, width=1200, height=900, scheme="light"):
        self._browser = browser
        self.problems = []
        self.requests = []
        self._context = browser.send("Target.createBrowserContext")
        target = browser.send(
            "Target.createTarget", url="about:blank", **self._context
        )["targetId"]
        self._session = browser.send(
            "Target.attachToTarget", targetId=target, flatten=True
        )["sessionId"]
        browser.pages[self._session] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        # As if its window were in front, so that keys arrive.
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.send(
            "Emulation.setEmulatedMedia",
            features=[
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ],
        )

    def close(self):
        del self._browser.pages[self._session]
        self._browser.send("Target.disposeBrowserContext", **self._context)

    def send(self, method, **parameters):
        return self._browser.send(method, self._session, **parameters)

    def note(self, event):
        """Keep what an event tells about requests and errors."""
        values = event["params"]
        match event["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(values["exceptionDetails"]))
            case "Log.entryAdded":
                self.problems.append(json.dumps(values["entry"]))
            case "Runtime.consoleAPICalled":
                self.problems.append(json.dumps(values["args"]))

    def goto(self, url):
        self.send("Page.navigate", url=url)
        self.until(f"location.href !== 'about:blank' && {READY}")

    def evaluate(self, expression):
        """Return the value of a JavaScript expression; promises are awaited."""
        result = self.send(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"]))
        return result["result"].get("value")

    def until(self, condition, seconds=20.0):
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                shown = self.evaluate("document.body?.innerText")
                raise TimeoutError(
                    f"{condition}\n{shown}\n{self.problems}\n{self.requests}"
                )
            time.sleep(0.02)

    def text(self, selector):
        return self.evaluate(
            f"document.querySelector({json.dumps(selector)}).textContent"
        )

    def press(self, key, control=False):
        """Press and release a key of `KEYS`."""
        code, text = KEYS[key]
        values = {
            "key": text if key == "Space" else key,
            "code": key,
            "windowsVirtualKeyCode": code,
            "modifiers": CONTROL if control else 0,
        }
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **values)
        self.send("Input.dispatchKeyEvent", type="keyUp", **values)

    def write(self, text):
        """Replace what is in the focused field."""
        self.evaluate("document.activeElement.select()")
        self.send("Input.insertText", text=text)

    def screenshot(self, path):
        """Write the whole page as a PNG file."""
        image = self.send(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True
        )
        path.write_bytes(base64.b64decode(image["data"]))


READY = "document.readyState === 'complete'"


def _high(descriptor):
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return high
