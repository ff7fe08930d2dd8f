"""A headless Chromium, steered by the few calls of W3C WebDriver (w3.org/TR/webdriver2) that tests need."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.live.harness import wait_for

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which WebDriver gives an element's name."""
ENTER = "\ue007"
TAB = "\ue004"
SHOWN = "one => one.checkVisibility() && !one.disabled"
LABELLED = f"""return [...document.querySelectorAll("label")].filter(one => one.textContent === arguments[0])
.map(one => one.control).find({SHOWN}) ?? null"""
PRESSABLE = f"""return [...document.querySelectorAll("dialog[open] button, button, a, summary")]
.filter(one => one.textContent.trim() === arguments[0]).find({SHOWN}) ?? null"""


def missing() -> str | None:
    """Why there is no browser to test with; None where there is one, or has to be one."""
    if os.environ.get("LLMPROXY_TEST_BROWSER") == "required":
        return None
    gone = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(gone)} not here (Debian: apt install chromium chromium-driver)" if gone else None


class Browser:
    """One window."""

    def __init__(self, client: httpx.Client, session: str) -> None:
        self._client, self._session = client, session

    def open(self, url: str) -> None:
        self._call("POST", "url", {"url": url})

    def element(self, css: str) -> str:
        """The first element, once there is one."""
        return wait_for(lambda: self._found(css), f"an element {css}")[0]

    def click(self, css: str) -> None:
        self._call("POST", f"element/{self.element(css)}/click", {})

    def type(self, css: str, text: str) -> None:
        self._call("POST", f"element/{self.element(css)}/value", {"text": text})

    def text(self, css: str = "body") -> str:
        found = self._found(css)
        return str(self._call("GET", f"element/{found[0]}/text")) if found else ""

    def wait_text(self, text: str, css: str = "body") -> str:
        """The text of an element, once it holds `text`."""
        return wait_for(lambda: shown if text in (shown := self.text(css)) else "", f"{text!r} in {css}")

    def labelled(self, label: str, text: str) -> None:
        """Type into the field with this label, once there is one that is shown."""
        found = wait_for(lambda: self.run(LABELLED, label), f"a field {label!r}")
        self._call("POST", f"element/{found[ELEMENT]}/clear", {})
        self._call("POST", f"element/{found[ELEMENT]}/value", {"text": text})

    def press(self, text: str) -> None:
        """Click the button, link or summary with this text, once there is one that is shown."""
        found = wait_for(lambda: self.run(PRESSABLE, text), f"{text!r} to click on")
        self._call("POST", f"element/{found[ELEMENT]}/click", {})

    def keys(self, text: str) -> None:
        """Type into whatever has the focus."""
        focused = self._call("GET", "element/active")
        self._call("POST", f"element/{focused[ELEMENT]}/value", {"text": text})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page, and give what it returns or promises."""
        return self._call("POST", "execute/sync", {"script": script, "args": arguments})

    def emulate(self, command: str, **parameters: Any) -> Any:
        """Send a command of the Chrome DevTools Protocol."""
        return self._call("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Take a picture of what is seen, or of the `whole` document."""
        if whole:
            taken = self.emulate("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        else:
            taken = self._call("GET", "screenshot")
        path.write_bytes(base64.b64decode(taken))

    def _found(self, css: str) -> list[str]:
        found = self._call("POST", "elements", {"using": "css selector", "value": css})
        return [element[ELEMENT] for element in found]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._client.request(method, f"/session/{self._session}/{path}", json=body)
        value = answer.json()["value"]
        stale = answer.status_code == 404 and value["error"] == "stale element reference"
        assert answer.status_code == 200 or stale, value
        return "" if stale else value


@contextlib.contextmanager
def browser(folder: Path, width: int = 1280, height: int = 720) -> Iterator[Browser]:
    """Start Chromium with a profile in `folder`, and end it."""
    arguments = [
        "--headless=new",
        "--no-sandbox",  # tests may run as root, and open nothing but 127.0.0.1
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-proxy-server",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},{height}",
    ]
    options = {"args": arguments, "binary": shutil.which("chromium")}
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as driver:
        try:
            assert driver.stdout
            port = next(
                match[1] for line in driver.stdout if (match := re.search(r"started .*on port (\d+)", line))
            )
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
                wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
                begun = client.post("/session", json=wanted).json()["value"]
                assert "sessionId" in begun, begun
                try:
                    yield Browser(client, begun["sessionId"])
                finally:
                    client.delete(f"/session/{begun['sessionId']}")
        finally:
            driver.terminate()
