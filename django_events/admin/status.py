"""The status in the admin, in place of the list of processes: alone they say little."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from django_events.admin.bounded import BoundedAdmin
from django_events.models import Process


@admin.register(Process)
class StatusAdmin(BoundedAdmin):
    """A page that nobody may change anything on."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        # Only now: it needs clients of Kafka and of Prometheus, which most web processes never use.
        from django_events.admin import status_page

        context = {**self.context(request, _("Status")), **status_page.context_of(request, self.admin_site)}
        return TemplateResponse(request, "admin/django_events/process/status.html", context)

    def list_filters(self, request: HttpRequest) -> str:
        return ""
