"""The shop's pages."""

from collections.abc import AsyncGenerator
from decimal import Decimal, InvalidOperation

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from testproject.shop import orders
from testproject.shop.events import order_placed

SILENCE = 15.0
"""Seconds after which a line that means nothing shows whether the browser is still there."""


@csrf_exempt
@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    """Place an order of ``customer`` over ``total``; answers with its number."""
    customer = request.POST.get("customer", "")
    try:
        total = Decimal(request.POST.get("total", "")).quantize(Decimal("0.01"))
    except InvalidOperation:
        return JsonResponse({"error": "total is not an amount, such as 9.90"}, status=400)
    if not 0 < len(customer) <= 100 or not 0 < total < 100_000_000:
        return JsonResponse({"error": "a customer's name and a total above 0 are needed"}, status=400)
    return JsonResponse({"order": orders.place(customer, total).pk}, status=201)


async def order_events(request: HttpRequest, number: int) -> StreamingHttpResponse:
    """What happens to this order from now on, as server-sent events: the browser's ``EventSource`` reads them."""
    return StreamingHttpResponse(_events_of_order(number), content_type="text/event-stream")


async def _events_of_order(number: int) -> AsyncGenerator[str, None]:
    async with order_placed.subscribe(key=str(number)) as events:  # left when the browser goes
        yield ": subscribed\n\n"
        while True:
            event = await events.aget(timeout=SILENCE)
            if event is None:
                yield ": still here\n\n"
            else:
                yield f"id: {event.id}\nevent: {event.type}\ndata: {(event.data or b'').decode()}\n\n"
