"""The shop's pages."""

from decimal import Decimal, InvalidOperation

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from testproject.shop import orders


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
