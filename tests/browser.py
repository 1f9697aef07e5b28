"""Drive a headless Chromium over the DevTools pipe, with the standard library only."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}
PATIENCE = 60.0  # seconds for one answer: a loaded machine, not the page


def find():
    """Return the program of a browser that is installed, or None."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


class Page:
    """One page; `requests` and `complaints` are what it asked for and what it had to say on the console."""

    def __init__(self, send, events):
        self._send, self._events = send, events

    @property
    def requests(self):
        """Return the addresses asked for so far."""
        self.ask("1")
        return [e["params"]["request"]["url"] for e in self._events if e["method"] == "Network.requestWillBeSent"]

    @property
    def complaints(self):
        """Return errors and everything that was written to the console."""
        self.ask("1")
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [e for e in self._events if e["method"] in kinds]

    def open(self, address, width=1400, height=1000, scheme="light"):
        """Show an address in a window of a width, in light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._send("Emulation.setDeviceMetricsOverride", size)
        self._send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self._send("Page.navigate", {"url": "about:blank"})
        self._send("Page.navigate", {"url": address})
        until = time.monotonic() + PATIENCE
        while self.ask("document.readyState + location.href.slice(0, 4)") != "complete" + address[:4]:
            assert time.monotonic() < until, f"{address} did not load"
            time.sleep(0.02)

    def ask(self, script):
        """Return the value of a script in the page."""
        answer = self._send("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key):
        """Press a key, as a reader does."""
        texts = {"Enter": {"text": "\r"}} | ({key: {"text": key}} if len(key) == 1 else {})
        options = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, 0), **texts.get(key, {})}
        kind = "keyDown" if "text" in options else "rawKeyDown"
        self._send("Input.dispatchKeyEvent", {"type": kind, **options})
        self._send("Input.dispatchKeyEvent", {"type": "keyUp", **options})

    def print(self, is_paper=True):
        """Show the page as on paper, or again on the screen."""
        self._send("Emulation.setEmulatedMedia", {"media": "print" if is_paper else ""})

    def saved(self, folder, script):
        """Return the file that a script in the page saves, in a folder of files that are not watched else."""
        self._send("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
        before, until = set(folder.iterdir()), time.monotonic() + PATIENCE
        self.ask(script)
        while True:
            found = [path for path in set(folder.iterdir()) - before if path.suffix != ".crdownload"]
            if found and found[0].stat().st_size:
                return found[0]
            assert time.monotonic() < until, "nothing was saved"
            time.sleep(0.02)

    def type(self, text):
        """Write into what has the focus."""
        self._send("Input.insertText", {"text": text})

    def picture(self, path, is_whole=True):
        """Write a PNG of the page, or of what the window shows."""
        options = {"format": "png", "captureBeyondViewport": is_whole}
        if is_whole:
            size = self._send("Page.getLayoutMetrics", {})["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        with open(path, "wb") as file:
            file.write(base64.b64decode(self._send("Page.captureScreenshot", options)["data"]))


@contextlib.contextmanager
def opened(program):
    """Yield a `Page` of a browser that reaches no network."""
    to_browser, from_us = os.pipe()
    to_us, from_browser = os.pipe()
    # Children of the browser may still write into the profile when it has been killed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={profile}", "--remote-debugging-pipe",
        ]  # fmt: skip
        # The browser reads its file 3 and writes its file 4.
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield _page(from_us, to_us)
        finally:
            process.kill()
            process.wait()
            os.close(from_us)
            os.close(to_us)


def _page(out, into):
    events, rest, count = [], bytearray(), 0

    def receive():
        while 0 not in rest:
            ready, _, _ = select.select([into], [], [], PATIENCE)
            part = os.read(into, 1 << 20) if ready else b""
            assert part, "the browser does not answer"
            rest.extend(part)
        end = rest.index(0)
        message = json.loads(rest[:end])
        del rest[: end + 1]
        return message

    def send(method, parameters, session=None):
        nonlocal count
        count += 1
        message = {"id": count, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(out, data) :]
        while (answer := receive()).get("id") != count:
            events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    target = send("Target.createTarget", {"url": "about:blank"})["targetId"]
    session = send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
    for domain in ("Page", "Runtime", "Network", "Log"):
        send(f"{domain}.enable", {}, session)
    return Page(lambda method, parameters: send(method, parameters, session), events)
