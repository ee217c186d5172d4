"""A web server on loopback that plays Runway, Luma and an OpenAI-compatible captioner, and keeps what it was sent."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np


class FakeServices:
    """What the server was asked and what it answers."""

    def __init__(self, video: bytes) -> None:
        self.video = video
        self.requests: list[tuple[str, str, dict[str, str], dict[str, Any] | None]] = []
        self.refusals: list[tuple[int, dict[str, str], str]] = []
        """Answers that come before the right ones: status, headers, text."""
        self.looks_until_done = 2
        self.failure = ""
        self.caption = "A room with a window."
        self.url = ""
        self._looks: dict[str, int] = {}

    def paid(self) -> int:
        """How many clips were asked for and taken."""
        return len(self._looks)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for _, asked, _, body in self.requests if asked == path and body is not None]

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        if path == "/video.mp4":
            return self.video
        if method == "POST" and path in ("/v1/image_to_video", "/luma/generations"):
            task = f"task-{len(self._looks)}"
            self._looks[task] = 0
            return {"id": task, "state": "queued"}
        if method == "POST" and path == "/openai/chat/completions":
            return {"choices": [{"message": {"content": self.caption}}]}
        task = path.rsplit("/", 1)[-1]
        if method == "GET" and task in self._looks:
            self._looks[task] += 1
            done = self._looks[task] > self.looks_until_done
            if path.startswith("/v1/tasks/"):
                if self.failure:
                    return {"id": task, "status": "FAILED", "failure": self.failure}
                video = {"output": [f"{self.url}/video.mp4"]} if done else {}
                return {"id": task, "status": "SUCCEEDED" if done else "RUNNING", **video}
            if self.failure:
                return {"id": task, "state": "failed", "failure_reason": self.failure}
            video = {"assets": {"video": f"{self.url}/video.mp4"}} if done else {}
            return {"id": task, "state": "completed" if done else "dreaming", **video}
        return None


@contextmanager
def served(services: FakeServices) -> Iterator[FakeServices]:
    """Answer on a free port of loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            body = json.loads(raw) if raw else None
            services.requests.append((self.command, self.path, dict(self.headers.items()), body))
            if services.refusals:
                status, headers, text = services.refusals.pop(0)
                self._send(status, text.encode(), headers)
                return
            answer = services.answer(self.command, self.path, body)
            if answer is None:
                self._send(404, b"{}", {})
            elif isinstance(answer, bytes):
                self._send(200, answer, {"Content-Type": "video/mp4"})
            else:
                self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    services.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield services
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shown(uri: str) -> np.ndarray:
    """The RGB image in a ``data:`` address."""
    kind, _, content = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    pixels = np.frombuffer(base64.b64decode(content), np.uint8)
    return cv2.cvtColor(cv2.imdecode(pixels, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def encoded_video(path: Any, frames: list[np.ndarray]) -> bytes:
    """Frames as an MP4 file."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 24.0, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path.read_bytes()
