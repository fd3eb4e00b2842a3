"""The proxy that the tests put between two ends: open, slow, stalled, cut."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.services.proxy import Condition, Link, Proxy
from tests.waiting import wait_for


@pytest.fixture
def link() -> Iterator[Link]:
    """A link to a server that sends everything back."""
    proxy = Proxy()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo, args=[server], daemon=True).start()
        yield proxy.link(server.getsockname()[1])
        proxy.close()


def test_an_open_or_slow_link_carries_bytes_both_ways(link: Link) -> None:
    with socket.create_connection(("127.0.0.1", link.port), 120) as client:
        for condition in (Condition.OPEN, Condition.SLOW):
            link.become(condition)
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_a_stalled_link_delivers_when_it_is_open_again(link: Link) -> None:
    with socket.create_connection(("127.0.0.1", link.port), 120) as client:
        client.sendall(b"first")
        assert client.recv(5) == b"first"
        link.become(Condition.STALLED)
        client.sendall(b"later")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(5)
        client.settimeout(120)
        link.become(Condition.OPEN)
        assert client.recv(5) == b"later"


def test_a_cut_link_resets_connections_and_refuses_new_ones(link: Link) -> None:
    with socket.create_connection(("127.0.0.1", link.port), 120) as client:
        client.sendall(b"first")
        assert client.recv(5) == b"first"
        link.become(Condition.CUT)
        assert _ended(client)
        with socket.create_connection(("127.0.0.1", link.port), 120) as another:
            assert _ended(another)
    link.become(Condition.OPEN)
    wait_for(lambda: _answers(link.port))


def _ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 120) as client:
            client.sendall(b"hello")
            return client.recv(5) == b"hello"
    except OSError:
        return False


def _echo(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # the test is over
            return
        threading.Thread(target=_send_back, args=[connection], daemon=True).start()


def _send_back(connection: socket.socket) -> None:
    with connection:
        while piece := connection.recv(1024):
            connection.sendall(piece)
