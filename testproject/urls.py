"""The pages of the test project."""

from django.urls import path

from testproject.shop.views import place_order

urlpatterns = [path("orders", place_order, name="place-order")]
