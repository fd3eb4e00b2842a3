"""Brings dead letters into their table. That of an event which its handler has processed since is closed at once."""

import logging
import uuid
from collections import defaultdict
from collections.abc import Sequence

from django.db import Error as DatabaseError
from django.db import connections, router

from django_events import handlers
from django_events.consuming.attempt import database_of
from django_events.consuming.letters import database_of_letters
from django_events.models import DeadLetter, Letter, ProcessedEvent

logger = logging.getLogger("django_events.dead_letters")


def project(letters: Sequence[Letter]) -> int:
    """Bring the letters in, in one transaction; how many were new. Idempotent. Raises DatabaseError."""
    return DeadLetter.objects.project(letters, database_of_letters(), processed=_processed(letters))


def _processed(letters: Sequence[Letter]) -> set[uuid.UUID]:
    """The keys of those events that have a mark, each looked up in its handler's database. Only saves a try: a handler
    finds its mark itself. So a database that is away is not waited for."""
    keys: defaultdict[str, set[uuid.UUID]] = defaultdict(set)
    databases = {(each.group, each.name): database_of(each) for group in handlers.declared() for each in group.handlers}
    for letter in letters:
        using = databases.get((letter.group_name, letter.handler)) or router.db_for_write(ProcessedEvent)
        keys[using].add(letter.event_key)
    found: set[uuid.UUID] = set()
    for using, wanted in keys.items():
        try:
            found |= ProcessedEvent.objects.processed(wanted, using)
        except DatabaseError as error:
            connections[using].close()
            logger.debug("What is processed in database %r is not known: %s", using, error)
    return found
