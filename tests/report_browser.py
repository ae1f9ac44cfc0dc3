"""Headless Chromium over a pipe: opens a page, and hears what it asks the network for and says on the console."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time

__all__ = ["CHROMIUM", "Browser"]

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]


class Browser:
    """One tab. `requests` and `complaints` hold what happened since `open`; a context manager that ends its process.

    flags: more of Chromium's, such as those of a microphone that plays a file.
    """

    def __init__(self, profile, *flags):
        asked, told = os.pipe(), os.pipe()
        far = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in (asked[0], told[1])]  # never 3 or 4, which they become

        def place():
            os.dup2(far[0], 3)
            os.dup2(far[1], 4)

        command = [CHROMIUM, *FLAGS, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=place, pass_fds=(3, 4), **quiet)
        for fd in (*far, asked[0], told[1]):
            os.close(fd)
        self.to, self.fro, self.rest = asked[1], told[0], b""
        self.ids = itertools.count(1)
        self.session = None
        self.requests, self.complaints, self.loaded = [], [], False
        tab = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=tab["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        os.close(self.to)
        os.close(self.fro)

    def call(self, method, **params):
        """One command of the DevTools protocol; its result."""
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._hear()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, url, width=1280, height=800, dark=False, touch=False):
        """Opens the page at that size and colour scheme, and waits until it has loaded and drawn."""
        self.requests, self.complaints, self.loaded = [], [], False
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.scheme("dark" if dark else "light")
        self.call("Page.navigate", url="about:blank")
        while not self.loaded:
            self._hear()
        self.requests, self.complaints, self.loaded = [], [], False
        self.call("Page.navigate", url=url)
        while not self.loaded:
            self._hear()
        self.settle()

    def scheme(self, name):
        """The reader's colour scheme: light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def settle(self):
        """Two frames and a moment: observers have run and drawing is done."""
        self.js("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(r, 60))))")

    def js(self, expression):
        """The value of an expression in the page; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def key(self, name, code):
        """Presses a key, as a reader does."""
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)

    def picture(self, path, whole=True):
        """A PNG of the page: the whole of it, or the first screen."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path):
        """The page printed on A4."""
        data = self.call("Page.printToPDF", preferCSSPageSize=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def _hear(self, patience=60.0):
        end = time.monotonic() + patience
        while b"\0" not in self.rest:
            if not select.select([self.fro], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium said nothing for a minute")
            heard = os.read(self.fro, 1 << 20)
            if not heard:
                raise ConnectionError("Chromium ended")
            self.rest += heard
        line, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"{params['type']}: {params['args']}")
        elif method == "Page.loadEventFired":
            self.loaded = True
