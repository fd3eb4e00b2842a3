"""The pages of the test project."""

from django.contrib import admin
from django.urls import path

from testproject.shop.views import order_events, place_order

urlpatterns = [
    path("admin/", admin.site.urls),
    path("orders", place_order, name="place-order"),
    path("orders/<int:number>/events", order_events, name="order-events"),
]
