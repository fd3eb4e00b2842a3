"""Makes the pictures in docs/images from the running demo: ``./dev screenshots``."""

import html
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page

from tests.browser import browser, log_in
from tests.services.installing import chromium

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"

PATIENCE = 180.0
"""Seconds until something has gone wrong."""

LETTERS = 4
"""Open dead letters that the pictures show."""

TERMINAL = """
<body style="margin: 0; background: #1e2127">
<pre style="margin: 0; padding: 20px 24px; width: max-content; color: #d7dae0; font: 14px/1.45 monospace">{}</pre>
"""

END_OF_CONTENT = "Math.ceil(document.querySelector('#content').getBoundingClientRect().bottom + window.scrollY) + 20"


class Look(NamedTuple):
    """How pages are looked at."""

    name: str
    """The end of the names of its pictures."""
    width: int
    tallest: int
    """Pixels after which a long page is cut."""
    is_dark: bool = False


LOOKS = (Look("", 1440, 1000), Look("-dark", 1440, 1000, is_dark=True), Look("-narrow", 375, 1400))

CLOSE_SIDEBAR = "localStorage.setItem('django.admin.navSidebarIsOpen', 'false')"

HIDE_CHECKOUT = """checkout => document.querySelectorAll("pre").forEach(
    pre => pre.textContent = pre.textContent.replaceAll(checkout, "/srv/shop")
)"""
"""Tracebacks name the folder of whoever makes the pictures."""


class Demo:
    """The demo, with its web site."""

    def __init__(self, output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "demo"], cwd=ROOT, stdout=file, start_new_session=True
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for_login(self) -> "re.Match[str]":
        """Wait for its site: the groups are address, user and password."""
        found = re.compile(r"The admin: (?P<address>\S+) +user (?P<user>\w+), password (?P<password>\w+)")
        wait_for(lambda: bool(found.search(self.output)) or self._process.poll() is not None)
        login = found.search(self.output)
        if login is None:
            raise SystemExit(f"The demo has no web site:\n{self.output}")
        return login

    @contextmanager
    def without_kafka(self) -> Iterator[None]:
        """Its Kafka, which lives in its first process, answers nobody meanwhile; the others go on."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)  # as a terminal does
        self._process.wait()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser(chromium()) as started:
        demo = Demo(Path(folder) / "demo.log")
        try:
            take_all(started, demo)
        finally:
            demo.end()
        take_terminal(started, demo.output)


def take_all(started: Browser, demo: Demo) -> None:
    login = demo.wait_for_login()
    admin = f"{login['address']}django_events"
    pages = {look: visit(started, look, login) for look in LOOKS}
    for look, page in pages.items():
        take(page, look, "processed", f"{admin}/processedevent/")
    wait_for(lambda: len(re.findall("→ dead letter", demo.output)) > LETTERS)  # one of them is resolved
    for look, page in pages.items():
        take(page, look, "status", f"{admin}/process/")
        take_letters(page, look, admin)
    with demo.without_kafka():
        wait_for(lambda: has_rows(pages[LOOKS[0]], f"{admin}/outgoingevent/", 8))
        for look, page in pages.items():
            take(page, look, "outgoing", f"{admin}/outgoingevent/")


def visit(started: Browser, look: Look, login: "re.Match[str]") -> Page:
    """A page that looks so, logged in."""
    page = started.new_page(
        viewport={"width": look.width, "height": 800}, color_scheme="dark" if look.is_dark else "light"
    )
    page.add_init_script(CLOSE_SIDEBAR)
    log_in(page, login["address"], login["user"], login["password"])
    return page


def take_letters(page: Page, look: Look, admin: str) -> None:
    take(page, look, "failures", f"{admin}/failure/")
    take(page, look, "dead-letters", f"{admin}/deadletter/?state=all")
    take(page, look, "resolved", f"{admin}/deadletter/?state=resolved", ["CannotBill"])
    take(page, look, "dead-letter", f"{admin}/deadletter/?handler=billing/make_invoice", ["CannotBill"])
    take(page, look, "edit", page.url, ["Edit and retry"])
    page.go_back()
    take(page, look, "retry", page.url, ["Retry now"])
    take(page, look, "discard", f"{admin}/deadletter/", several="Discard")


def take(page: Page, look: Look, name: str, address: str, links: list[str] | None = None, several: str = "") -> None:
    """Go there, follow these links or begin this action for all rows, and take a picture."""
    page.goto(address)
    for link in links or []:
        page.locator("#content").get_by_role("link", name=link).first.click()
        page.wait_for_load_state()
    if several:
        page.locator("#action-toggle").check()
        page.get_by_label("Action:").select_option(several)
        page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).first.click()
        page.wait_for_load_state()
    page.evaluate(HIDE_CHECKOUT, str(ROOT))
    height = min(page.evaluate(END_OF_CONTENT), look.tallest)
    page.screenshot(
        path=IMAGES / f"{name}{look.name}.png",
        full_page=True,
        clip={"x": 0, "y": 0, "width": look.width, "height": height},
    )


def take_terminal(started: Browser, text: str) -> None:
    """A picture of what the demo has said in the terminal, as far as its web site."""
    shown = text[: text.index("\n", text.index("until you press Ctrl-C:"))]
    page = started.new_page(viewport={"width": 1200, "height": 400})
    page.set_content(TERMINAL.format(html.escape(shown)))
    page.locator("pre").screenshot(path=IMAGES / "demo.png")


def has_rows(page: Page, address: str, count: int) -> bool:
    page.goto(address)
    return page.locator("#result_list tbody tr").count() >= count


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("What the pictures are to show has not come.")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
