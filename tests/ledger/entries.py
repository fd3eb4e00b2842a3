"""What the tests do to accounts."""

from django.db import transaction

from django_events import Event
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Account


def make_entry(name: str, hold: str = "") -> Event[EntryMade]:
    """Lock the account, number the next event, and send it: as a site does that wants order."""
    with transaction.atomic():
        account = Account.objects.select_for_update().get_or_create(name=name)[0]
        account.last += 1
        account.save()
        return entry_made.send(EntryMade(name, account.last, hold), key=name)
