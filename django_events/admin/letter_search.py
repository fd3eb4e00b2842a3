"""Finds dead letters by what somebody writes into the search box."""

from typing import Any

from django.db.models import BinaryField, BooleanField, F, Func, Q, QuerySet, Subquery, Value
from django.db.models.functions import Length

from django_events import redaction
from django_events.admin import payloads
from django_events.conf import settings
from django_events.consuming.letters import secrets_of
from django_events.models import DeadLetter
from django_events.models.windows import WINDOW, as_table, beginning_with

LONGEST_PAYLOAD = 100_000
"""Bytes of a payload that is searched."""

BODIES = ("value", "edited_value")


def search(rows: QuerySet[DeadLetter], term: str, *, in_payloads: bool) -> QuerySet[DeadLetter]:
    """Letters anywhere whose key or event id begins so; if one may see payloads, also those of the window whose error
    or payload has it."""
    every = DeadLetter.objects.using(rows.db)
    found = [beginning_with(every.all(), column, term).values("pk") for column in ("key_text", "event_id")]
    if in_payloads:
        found.append(_with_text(rows, term).values("pk"))
    first, *others = found
    return as_table(every.filter(_AnyOf(F("pk"), Subquery(first.union(*others))))[: len(found) * WINDOW])


def _with_text(rows: QuerySet[DeadLetter], term: str) -> QuerySet[DeadLetter]:
    needle = Value(term.encode("utf-8", "surrogatepass"), output_field=BinaryField())
    lengths = {f"{body}_length": Length(body) for body in BODIES}
    holds = (Q(**{f"{body}_length__lte": LONGEST_PAYLOAD}) & Q(_Holds(body, needle)) for body in BODIES)
    found = rows.alias(**lengths).filter(Q(Q(message__icontains=term), *holds, _connector=Q.OR))
    if not settings.REDACT:
        return found
    # Who searches for a hidden value must not learn that it is there.
    return rows.filter(pk__in=[letter.pk for letter in found.iterator() if _shows(letter, term)])


def _shows(letter: DeadLetter, term: str) -> bool:
    """Whether the error or the payload has the term even without what is hidden."""
    message = redaction.text(letter.message, secrets_of(letter))
    bodies = (payloads.payload_of(letter, edited=edited) for edited in (False, True))
    return term.lower() in message.lower() or any(term.encode() in payloads.download(body) for body in bodies)


class _AnyOf(Func):
    """Whether a value is among those of a subquery, which is read once, before anything else: as part of a join, it
    would be read again for every letter where the statistics say that there are none."""

    template = "%(expressions)s"
    arg_joiner = " IN "
    output_field = BooleanField()

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s)", arg_joiner=" = ANY(ARRAY")


class _Holds(Func):
    """Whether bytes have these others in them."""

    function = "instr"
    output_field = BooleanField()

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        turned = self.copy()
        turned.set_source_expressions(self.get_source_expressions()[::-1])
        return turned.as_sql(compiler, connection, template="position(%(expressions)s) > 0", arg_joiner=" in ")
