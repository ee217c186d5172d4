"""``posesplat view DIR...``: Gaussians, cameras, paths and covariances of results in a browser."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from posesplat.cli.exit_status import ExitStatus


@dataclass(frozen=True)
class Options:
    """What is viewed, and where."""

    results: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR|MAP.ply")]
    """Output folders of posesplat, side by side, and splat PLY files."""
    map: Annotated[Path | None, arg(metavar="MAP.ply")] = None
    """The map of all the folders, where the one that their result.json names has moved."""
    overlay: bool = False
    """All results in one place instead of side by side: for answers in the same map."""
    html: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write one page that opens without network and without posesplat, instead of starting the viewer."""
    host: str = "127.0.0.1"
    """Address to listen at; any but the default lets others see the results."""
    port: int = 8080
    """Port to listen at; 0 for any free one."""
    max_splats: int | None = None
    """Most Gaussians that are drawn, by importance; default 400,000, and 60,000 in a page of --html."""
    open: bool = False
    """Open the page in the default browser."""
    threads: int | None = None
    """Threads of the renderer; default POSESPLAT_THREADS or all processors."""


def run(options: Options) -> int:
    """Serve the viewer until Ctrl-C, or write the page."""
    from posesplat.viewer.server import check_viser

    if not options.results:
        raise ValueError("Nothing to view; pass at least one output folder or splat PLY.")
    check_viser()
    if options.html is not None:
        return _write_page(options, options.html)
    return _serve(options)


def _write_page(options: Options, file: Path) -> int:
    from posesplat.files import write_text
    from posesplat.viewer.page import PAGE_SPLATS, scene_page
    from posesplat.viewer.shown import open_shown

    shown = open_shown(options.results, options.map)
    page = scene_page(shown, options.max_splats or PAGE_SPLATS, options.overlay, options.threads)
    write_text(file, page)
    sys.stdout.write(f"{file}: {len(page) / 1e6:.1f} MB; any browser opens it, without network\n")
    return ExitStatus.ALL_POSED


def _serve(options: Options) -> int:
    from dataclasses import replace

    from posesplat.viewer.controls import Controls
    from posesplat.viewer.drawing import Amount
    from posesplat.viewer.server import free_port, is_loopback, viser_server
    from posesplat.viewer.shown import open_shown
    from posesplat.viewer.stage import Stage

    port = free_port(options.host, options.port)
    shown = open_shown(options.results, options.map)
    amount = replace(Amount(), threads=options.threads)
    if options.max_splats is not None:
        amount = replace(amount, splats=options.max_splats)
    label = " | ".join(result.label for result in shown)
    stop = threading.Event()
    try:
        with viser_server(options.host, port, label) as server:
            controls = Controls.add(Stage.set(server, shown, amount, options.overlay))
            url = f"http://{_in_url(options.host)}:{port}"
            if not is_loopback(options.host):
                sys.stderr.write(f"posesplat: whoever can reach {options.host} sees these results\n")
            sys.stdout.write(f"{url} shows {label}; Ctrl-C ends\n")
            sys.stdout.flush()
            if options.open:
                import webbrowser

                webbrowser.open(url)
            controls.run(stop)
    except KeyboardInterrupt:
        sys.stderr.write("posesplat: viewer closed\n")
    return ExitStatus.ALL_POSED


def _in_url(host: str) -> str:
    """A host as an address in a browser holds it."""
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host
