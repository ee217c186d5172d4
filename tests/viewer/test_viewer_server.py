from __future__ import annotations

import pytest

from listening import listening
from posesplat.viewer.server import free_port, is_loopback, viser_server


def test_a_server_says_nothing_and_is_gone_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with viser_server() as server:
        port = server.get_port()
        assert listening(port) == {"127.0.0.1"}
        with pytest.raises(ValueError, match=f"Port {port} of 127.0.0.1 cannot be used"):
            free_port("127.0.0.1", port)
    assert listening(port) == set()
    assert capfd.readouterr() == ("", "")


def test_two_servers_take_two_ports() -> None:
    with viser_server() as first, viser_server() as second:
        assert first.get_port() != second.get_port()


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.5.5.5", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback_addresses(host: str, own: bool) -> None:
    assert is_loopback(host) is own
