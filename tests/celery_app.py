"""A Celery application whose broker is a folder, for the test of its forking workers."""

import os
from decimal import Decimal
from pathlib import Path

import django
from celery import Celery

django.setup()

from testproject.shop import orders  # noqa: E402

folder = Path(os.environ["CELERY_FOLDER"])
folder.mkdir(parents=True, exist_ok=True)

app = Celery("tests", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(folder),
    "data_folder_out": str(folder),
    "control_folder": str(folder),
}
app.conf.worker_hijack_root_logger = False


@app.task  # type: ignore[untyped-decorator]  # Celery has no types
def place(customer: str) -> None:
    orders.place(customer, Decimal("9.90"))
