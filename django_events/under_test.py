"""Whether this process runs tests of Django's."""

import sys

from django.core import mail


def is_under_test() -> bool:
    """Whether Django's test environment is set up here: by ``manage.py test``, pytest-django, or by hand.

    It makes ``mail.outbox``. But so does the e-mail backend ``locmem``, in whatever process sends its first mail with
    it; so Django's own record of what it has changed for the tests must be there, too.
    """
    if not hasattr(mail, "outbox"):
        return False
    utils = sys.modules.get("django.test.utils")
    state = getattr(utils, "_TestState", None)
    return utils is not None and (state is None or hasattr(state, "saved_data"))
