"""The web site of the demo: where it is, and who may log in."""

import secrets
import socket

from django.contrib.auth.models import User
from django.urls import reverse

HOST = "127.0.0.1"
USER = "operator"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on the port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def introduction(port: int) -> str:
    """Where to go in, and how. Makes the user for it, with a password that is good for this run."""
    return f"The admin: http://{HOST}:{port}{reverse('admin:index')}   user {USER}, password {_make_operator()}"


def _make_operator() -> str:
    password = secrets.token_hex(4)
    user, _ = User.objects.get_or_create(username=USER, defaults={"is_staff": True, "is_superuser": True})
    user.set_password(password)
    user.save()
    return password
