"""Somebody who only knows Django finds the poison order in the admin, understands it, and repairs it."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from testproject.billing.models import Invoice
from testproject.demo import website
from tests.browser import browser, log_in
from tests.processes import Site
from tests.services.server import free_ports
from tests.waiting import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.postgres]


def test_the_poison_order_is_found_understood_repaired_and_handled(site: Site, chromium: str) -> None:
    User.objects.create_superuser("operator", password="a secret")
    address = start_site(site)
    site.run("place_order", "gus", "0.00", EXIT_TIMEOUT="120")  # nobody else sends it
    with browser(chromium) as started:
        page = started.new_page()
        log_in(page, address + reverse("admin:index"), "operator", "a secret")
        find_the_failure(page)
        understand_it(page)
        repair_it(page)
        see_it_handled(page)
    assert Invoice.objects.get().total == Decimal("9.90")


def start_site(site: Site) -> str:
    """Have the site run, and what handles its events; the site's address."""
    (port,) = free_ports(1)
    site.start("runserver", "--noreload", "--insecure", f"{website.HOST}:{port}")
    site.start("consume", "billing").says("got shop.order-placed")
    wait_for(lambda: website.answers(port))
    return f"http://{website.HOST}:{port}"


def find_the_failure(page: Page) -> None:
    """The failures are the page to begin with; the letter comes there by way of Kafka."""
    page.get_by_role("link", name="Failures").first.click()
    wait_for(lambda: shows(page, "CannotBill"))
    expect(page.get_by_role("row", name="CannotBill")).to_contain_text("has a total of 0.00")
    page.get_by_role("row", name="CannotBill").get_by_role("link", name="1").first.click()
    page.get_by_role("link", name="CannotBill").first.click()


def understand_it(page: Page) -> None:
    expect(page.get_by_text("has a total of 0.00").first).to_be_visible()
    expect(page.get_by_text("raise CannotBill").first).to_be_visible()
    expect(page.get_by_text('"total": "0.00"').first).to_be_visible()
    expect(page.get_by_text("billing/make_invoice").first).to_be_visible()


def repair_it(page: Page) -> None:
    page.get_by_role("link", name="Edit and retry").click()
    field = page.get_by_label("Payload")
    payload = field.input_value()
    field.fill(payload.replace('"0.00"', '"a lot"'))
    page.get_by_role("button", name="Save and retry now").click()
    expect(page.get_by_text("$.total").first).to_be_visible()  # where in the payload something does not fit
    field.fill(payload.replace('"0.00"', '"9.90"'))
    page.get_by_role("button", name="Save and retry now").click()
    expect(page.get_by_text("The original is kept").first).to_be_visible()


def see_it_handled(page: Page) -> None:
    wait_for(lambda: shows(page, "Resolved: the handler is done with the event."))
    expect(page.get_by_text("The handler succeeded.").first).to_be_visible()
    expect(page.get_by_text("operator: Edited the payload").first).to_be_visible()


def shows(page: Page, text: str) -> bool:
    """Whether the page has this text by now."""
    page.reload()
    return page.get_by_text(text).count() > 0
