"""Values as people read them: nothing that a page cannot carry, and nothing endless."""

import re
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_events.consuming.bodies import printable

CUT = 120
"""Characters of an error in a list."""


def cut(text: str, longest: int = CUT) -> str:
    """The first line of the text, or as much of it as fits."""
    line = printable(text).strip().partition("\n")[0]
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def short_name(exception: str) -> str:
    """The name of an exception's type without its module."""
    return exception.rpartition(".")[2]


def breakable(name: str) -> str:
    """The name of a topic or handler in HTML, with the places at which a line may end."""
    parts = re.split(r"(?<=[/._-])", printable(name))
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in parts))


def key_in_words(key: str | None) -> str:
    if key is None:
        return _("no key")
    return printable(key) or _("(empty)")


def moment(at: datetime | None) -> str:
    """The time in HTML, in the current time zone; the seconds show when one points at it."""
    if at is None:
        return "–"
    local = timezone.localtime(at)
    html = '<time datetime="{}" title="{}">{}</time>'
    return format_html(html, at.isoformat(), f"{local:%Y-%m-%d %H:%M:%S %Z}", f"{local:%Y-%m-%d %H:%M}")


def span(length: timedelta) -> str:
    """About how long that is, such as "4 min"."""
    seconds = max(int(length.total_seconds()), 0)
    if seconds < 60:
        return _("%d s") % seconds
    if seconds < 3600:
        return _("%d min") % (seconds // 60)
    if seconds < 2 * 86_400:
        return _("%d h") % (seconds // 3600)
    return ngettext("%d day", "%d days", seconds // 86_400) % (seconds // 86_400)
