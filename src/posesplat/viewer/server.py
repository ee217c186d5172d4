"""A viser server that says nothing on stdout and takes the port that it was given, or none."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

NO_VIEWER = "viser is not installed. pip install 'posesplat[viewer]' adds the view in three dimensions."
LOOPBACK = "127.0.0.1"


def have_viser() -> bool:
    """Whether anything can be viewed."""
    return find_spec("viser") is not None


def check_viser() -> None:
    """Refuse to go on without viser.

    Raises:
        ValueError: saying how to get it.
    """
    if not have_viser():
        raise ValueError(f"The viewer needs viser; {NO_VIEWER}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0.

    Raises:
        ValueError: when it is taken or may not be used, or the host is not one of this machine.
    """
    if not 0 <= port < 65536:
        raise ValueError(f"--port must lie between 0 and 65535; got {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror as error:
        raise ValueError(f"--host must be an address of this machine, such as {LOOPBACK}; got {host!r}.") from error
    except OSError as error:
        raise ValueError(
            f"Port {port} of {host} cannot be used ({error.strerror or error}). Another program, perhaps another "
            "viewer, has it: pass --port with another number, or --port 0 for any free one."
        ) from error


@contextlib.contextmanager
def viser_server(host: str = LOOPBACK, port: int = 0, label: str | None = None) -> Iterator[Any]:
    """A running viser server, stopped at the end of the block.

    Raises:
        ValueError: when viser is not installed, or the port cannot be used.
    """
    check_viser()
    import viser

    chosen = free_port(host, port)
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=host, port=chosen, label=label, verbose=False)
    try:
        if server.get_port() != chosen:
            raise ValueError(f"Port {chosen} of {host} was taken meanwhile. Pass --port 0 for any free one.")
        yield server
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()
