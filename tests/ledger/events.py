"""The events of the tests."""

from dataclasses import dataclass

from django_events import Topic


@dataclass(frozen=True)
class EntryMade:
    """The ``number``-th event of an account."""

    account: str
    number: int
    hold: str = ""
    """A file for which the handler waits, after it has made one with ``.started`` at its end."""


entry_made = Topic("ledger.entry-made", EntryMade)
entry_closed = Topic("ledger.entry-closed", EntryMade)
