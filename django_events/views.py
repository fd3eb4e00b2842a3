"""Pages for machines. A site gives them a place in its URLconf, and sees to it that nobody else reads them."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_events.connections import without_transaction


@never_cache
@require_safe
@without_transaction
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics of this process for Prometheus, or, with ``PROMETHEUS_MULTIPROC_DIR``, of all processes that have
    the same directory. 501 without the extra ``prometheus``. Blocks for two seconds at most if a database does not
    answer; ``ATOMIC_REQUESTS`` opens no transaction for it."""
    from django_events import exposition  # loads prometheus_client, if it is installed

    if (found := exposition.page()) is None:
        return HttpResponse(
            "No metrics: prometheus_client is not installed. pip install 'django-events-kafka[prometheus]'\n",
            status=501,
            content_type="text/plain; charset=utf-8",
        )
    page, content_type = found
    return HttpResponse(page, content_type=content_type)
