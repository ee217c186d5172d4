"""Web services: requests that are repeated when a service is busy, and keys that only the environment holds.

It needs httpx (``pip install posesplat[inbetween]``).
"""

from __future__ import annotations

import base64
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

_LOG = logging.getLogger(__name__)
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Retries:
    """How often and how long a busy service is asked again."""

    attempts: int = 5
    """Most requests in place of one."""
    first_wait_s: float = 1.0
    """Wait after the first refusal; it doubles each time, unless the service names one."""
    timeout_s: float = 60.0
    """Of a single request."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    """Waits; tests replace it."""


class Service:
    """A JSON service below one address. Its key is read from the environment and shown nowhere."""

    def __init__(
        self,
        name: str,
        base_url: str,
        key_variable: str,
        headers: dict[str, str] | None = None,
        retries: Retries = Retries(),
    ) -> None:
        """Read the key.

        Args:
            name: of the service, for messages.
            base_url: without a slash at its end.
            key_variable: environment variable with the key.
            headers: sent with every request.
            retries: for a busy service.

        Raises:
            ImportError: when httpx is not installed.
            ValueError: when the variable is not set.
        """
        try:
            import httpx
        except ImportError as error:
            raise ImportError(f"{name} needs httpx; it is not installed. pip install 'posesplat[inbetween]'") from error
        key = os.environ.get(key_variable, "").strip()
        if not key:
            raise ValueError(
                f"{name} needs its key in the environment variable {key_variable}; it is not set. First "
                f"export {key_variable}=..."
            )
        self.name, self.base_url, self._retries = name, base_url.rstrip("/"), retries
        self._secret = key
        self._httpx = httpx
        self._headers = {"Authorization": f"Bearer {key}", **(headers or {})}

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {self.base_url!r})"

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a JSON body; the JSON answer.

        A request that the service may have taken, because the connection broke while it answered, is not repeated: it
        could be paid twice.

        Raises:
            OSError: when the service refuses or cannot be reached.
        """
        return self._json(self._sent("POST", f"{self.base_url}{path}", body, self._headers, safe=False))

    def get(self, path: str) -> dict[str, Any]:
        """The JSON answer of an address below the service's.

        Raises:
            OSError: when the service refuses or cannot be reached.
        """
        return self._json(self._sent("GET", f"{self.base_url}{path}", None, self._headers, safe=True))

    def download(self, url: str) -> bytes:
        """A file that the service made; its address may be elsewhere, so the key is not sent.

        Raises:
            OSError: when it cannot be fetched.
        """
        return bytes(self._sent("GET", url, None, {}, safe=True).content)

    def _sent(self, method: str, url: str, body: dict[str, Any] | None, headers: dict[str, str], *, safe: bool) -> Any:
        wait, fault = self._retries.first_wait_s, ""
        for attempt in range(self._retries.attempts):
            if attempt:
                _LOG.info("%s: %s; asking again in %.1f s", self.name, fault, wait)
                self._retries.sleep(wait)
                wait = min(2.0 * wait, _LONGEST_WAIT_S)
            try:
                answer = self._httpx.request(
                    method, url, json=body, headers=headers, timeout=self._retries.timeout_s, follow_redirects=True
                )
            except self._httpx.ConnectError as error:
                fault = self._clean(f"not reached ({error})")
                continue
            except self._httpx.HTTPError as error:
                fault = self._clean(f"connection broke ({type(error).__name__}: {error})")
                if safe:
                    continue
                break
            if answer.status_code < 400:
                return answer
            fault = self._clean(f"status {answer.status_code}: {answer.text[:300]}")
            if answer.status_code not in _BUSY:
                break
            named = answer.headers.get("retry-after", "")
            if named.replace(".", "", 1).isdigit():
                wait = min(float(named), _LONGEST_WAIT_S)
        raise OSError(f"{self.name} did not do {method} {self._clean(url)}: {fault}")

    def _json(self, answer: Any) -> dict[str, Any]:
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise OSError(f"{self.name} must answer with a JSON object; got {self._clean(answer.text[:200])!r}.")
        return content

    def _clean(self, text: str) -> str:
        return text.replace(self._secret, "***")


def data_uri(image: UInt8[np.ndarray, "height width 3"], quality: int = 95) -> str:
    """An RGB image as a ``data:`` address that holds a JPEG file."""
    import cv2

    made, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not made:
        raise ValueError(f"Expected an RGB image to encode; got shape {image.shape}.")
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
