"""Driver kernel: keepalives are Linux's, by the core's setting."""

import socket
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("seconds", [0, 77])
def test_listeners_keep_alive_as_told(rig: Callable[..., Any], seconds: int) -> None:
    """SO_KEEPALIVE and TCP_KEEPIDLE of the listening socket, which accepted ones inherit, follow keepalive_seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        one = rig()
        one.core.config.keepalive = seconds
        one.actor(descriptor=listener.fileno())
        one.attach("kernel")
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == (seconds > 0)
        if seconds:
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == seconds
