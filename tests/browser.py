"""A real browser: Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

PATIENCE = 120_000
"""Milliseconds for which something is waited for that a page is to show."""


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """This Chromium, without a window; it ends with the block.

    Inside, a loop runs in the caller's thread, so Django refuses to use the database there.
    """
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, timeout=PATIENCE)
        try:
            yield started
        finally:
            started.close()


def log_in(page: Page, address: str, user: str, password: str) -> None:
    """Log in at this address of the admin, and come back to it. From then on what is looked for is waited for."""
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)  # which is five seconds otherwise
    page.goto(address)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{address}**")
