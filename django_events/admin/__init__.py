"""What Django's admin shows of events: how all is, what failed and its repair, what is sent and what was handled."""

from django_events import tables

if not tables.there_are_none():  # there, pages that can show nothing but errors are left out
    from django_events.admin import dead_letters, failures, outgoing_events, processed_events, status

    __all__ = ["dead_letters", "failures", "outgoing_events", "processed_events", "status"]
