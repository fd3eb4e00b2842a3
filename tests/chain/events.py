"""What the first and the second service send."""

from django_events import Topic
from tests.ledger.events import EntryMade

entry_checked = Topic("chain.entry-checked", EntryMade)
entry_filed = Topic("chain.entry-filed", EntryMade)
