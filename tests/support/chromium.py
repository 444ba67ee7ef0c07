"""A headless Chromium, driven over its DevTools protocol by a pipe: pages as people see them, and their complaints."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

PATH = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 60.0


class Browser:
    """One page. `complaints` holds what its console said since the last `open`: errors, warnings, failed requests."""

    def __init__(self, to_it: int, from_it: int) -> None:
        self._to_it, self._from_it = to_it, from_it
        self._rest, self._last = b"", 0
        self._session: str | None = None
        self._loaded = False
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> Any:
        """The answer to one command. Raises RuntimeError when Chromium refuses it, TimeoutError when it is silent."""
        self._last += 1
        number = self._last
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_it, json.dumps(message).encode() + b"\0")
        while True:
            said = self._hear()
            if said.get("id") != number:
                continue
            if "error" in said:
                raise RuntimeError(f"{method}: {said['error']['message']}")
            return said["result"]

    def cookie(self, url: str, name: str, value: str) -> None:
        self.ask("Network.setCookie", url=url, name=name, value=value)

    def look(self, width: int, height: int = 900, dark: bool = False) -> None:
        """How wide the page is, in CSS pixels, and in which colours it is asked to be."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> list[str]:
        """Go there, wait until all of it is loaded and its scripts have run; what the console had to complain of."""
        self.complaints, self._loaded = [], False
        self.ask("Page.navigate", url=url)
        return self._settled()

    def press(self, script: str) -> list[str]:
        """Run what leads to another page, and wait for that as `open` does."""
        self.complaints, self._loaded = [], False
        self.run(script)
        return self._settled()

    def _settled(self) -> list[str]:
        while not self._loaded:
            self._hear()
        # Two frames later what the load event started has been drawn, and its complaints are on the pipe.
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        return self.complaints

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", script))
        return found["result"].get("value")

    def sideways(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def picture(self, file: Path, whole: bool = True) -> None:
        """A PNG of it; `whole`: beyond the window's lower edge too."""
        options: dict[str, Any] = {"format": "png"}
        if whole:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 6000), "scale": 1}
            options |= {"captureBeyondViewport": True, "clip": clip}
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", **options)["data"]))

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select([self._from_it], [], [], _PATIENCE)
            if not ready:
                raise TimeoutError(f"Chromium has said nothing for {_PATIENCE:.0f} s")
            more = os.read(self._from_it, 1 << 16)
            if not more:
                raise EOFError("Chromium has ended")
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(first)
        self._note(said.get("method", ""), said.get("params", {}))
        return said

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(each.get("value", each.get("description"))) for each in params["args"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}".strip())


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A Chromium of one's own, its profile in this directory; ended afterwards."""
    assert PATH is not None
    theirs, ours = os.pipe()  # what we write, it reads
    heard, spoken = os.pipe()
    arguments = [
        *(PATH, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *("--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run", "--disable-background-networking"),
    ]

    def give_it_its_ends() -> None:
        # It reads from 3 and writes to 4; first out of the way, for ours may be these numbers.
        read, write = os.dup(theirs), os.dup(spoken)
        os.dup2(read, 3)
        os.dup2(write, 4)

    child = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=give_it_its_ends,  # noqa: PLW1509 - it only moves descriptors
        pass_fds=(3, 4),
        env={**os.environ, "HOME": str(profile)},
    )
    os.close(theirs)
    os.close(spoken)
    try:
        yield Browser(ours, heard)
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        os.close(ours)
        os.close(heard)
