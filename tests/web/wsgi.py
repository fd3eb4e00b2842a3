"""For WSGI servers."""

import os

from django.core.wsgi import get_wsgi_application

import django_events

application = get_wsgi_application()
if "START_BROADCAST" not in os.environ:
    django_events.start_broadcast()
