"""What Django's admin shows of events: failures, dead letters and their repair, outgoing and processed events."""

from django_events import tables

if not tables.there_are_none():  # there, pages that can show nothing but errors are left out
    from django_events.admin import dead_letters, failures, outgoing_events, processed_events

    __all__ = ["dead_letters", "failures", "outgoing_events", "processed_events"]
