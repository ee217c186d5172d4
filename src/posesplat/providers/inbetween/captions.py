"""What clips are asked to show: fixed sentences, the caller's, or those of a model that looks at both images."""

from __future__ import annotations

import os
from collections.abc import Sequence

from posesplat.providers.http_service import Retries, Service, data_uri
from posesplat.providers.inbetween.provider import FIXED_PROMPTS, Image

QUESTIONS = (
    "Both pictures show one static scene from two places. Describe the scene in one sentence.",
    "Both pictures show one static scene. Tell in one sentence of plain words what is in it, with its details.",
)
"""What a captioner is asked, one caption each."""
_CAMERA = " The camera moves slowly and smoothly; nothing in the scene moves."


def prompts_for(caption: str, first: Image, last: Image, retries: Retries = Retries()) -> tuple[str, ...]:
    """The prompts that a choice of caption leads to.

    Args:
        caption: nothing for the fixed sentences, a text, or ``openai:MODEL``.
        first: image A.
        last: image B.
        retries: for a busy service.

    Raises:
        ImportError, OSError, ValueError: see :class:`Captioner`.
    """
    if not caption.strip():
        return FIXED_PROMPTS
    if caption.startswith("openai:"):
        return Captioner(caption.removeprefix("openai:"), retries=retries).captions(first, last)
    return (caption.strip(), caption.strip() + _CAMERA)


class Captioner:
    """A vision model behind an OpenAI-compatible address: ``OPENAI_BASE_URL``, with the key in ``OPENAI_API_KEY``."""

    def __init__(self, model: str, questions: Sequence[str] = QUESTIONS, retries: Retries = Retries()) -> None:
        """Read the key.

        Raises:
            ImportError: when httpx is not installed.
            ValueError: when no model is named or the key is missing.
        """
        if not model:
            raise ValueError("--caption openai:MODEL must name a model; got none.")
        base = os.environ.get("OPENAI_BASE_URL", "").strip() or "https://api.openai.com/v1"
        self.model, self.questions = model, tuple(questions)
        self._service = Service("the captioner", base, "OPENAI_API_KEY", retries=retries)

    def captions(self, first: Image, last: Image) -> tuple[str, ...]:
        """One sentence a question, each followed by how the camera moves.

        Raises:
            OSError: when the service refuses, or answers with no text.
        """
        images = [{"type": "image_url", "image_url": {"url": data_uri(image, 85)}} for image in (first, last)]
        found = []
        for question in self.questions:
            content = [{"type": "text", "text": question}, *images]
            body = {"model": self.model, "messages": [{"role": "user", "content": content}]}
            answer = self._service.post("/chat/completions", body)
            try:
                text = str(answer["choices"][0]["message"]["content"] or "").strip()
            except (KeyError, IndexError, TypeError):
                text = ""
            if not text:
                raise OSError("The captioner must answer with a sentence; got none. Pass --caption with your own.")
            found.append(" ".join(text.split()) + _CAMERA)
        return tuple(found)
