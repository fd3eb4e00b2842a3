"""A real browser: Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from tests.services.installing import chromium


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window; it ends with the block. Raises Unavailable if there is no Chromium."""
    program = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        try:
            yield started
        finally:
            started.close()


def log_in(page: Page, address: str, user: str, password: str) -> None:
    """Log in at this address of the admin, and come back to it."""
    page.goto(address)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{address}**")
