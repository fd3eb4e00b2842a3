"""Values as people read them: nothing that a page cannot carry, and nothing endless."""

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

CUT = 120
"""Characters of an error in a list."""


def printable(text: str) -> str:
    """The text as a page can carry it: half characters and NUL are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def cut(text: str, longest: int = CUT) -> str:
    """The first line of the text, or as much of it as fits."""
    line = printable(text).strip().partition("\n")[0]
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def key_in_words(key: str | None) -> str:
    if key is None:
        return _("no key")
    return printable(key) or _("(empty)")


def moment(at: datetime | None) -> str:
    """The time in HTML, to the second, in the current time zone."""
    if at is None:
        return "–"
    local = timezone.localtime(at)
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), f"{local:%Y-%m-%d %H:%M:%S}")


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
