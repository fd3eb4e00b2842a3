"""For ASGI servers."""

from django.core.asgi import get_asgi_application

import django_events

application = get_asgi_application()
django_events.start_broadcast()
