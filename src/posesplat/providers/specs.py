"""Words by which a provider is chosen, ``kind`` or ``kind:place``, and the error for a word that is none."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches


def unknown_spec(option: str, spec: str, accepted: Mapping[str, str]) -> ValueError:
    """The error for a choice that nobody knows.

    Args:
        option: the option's name: ``--depth``.
        spec: what was given.
        accepted: what may be given, each with what it means.
    """
    kinds = {form.split(":")[0]: form for form in accepted if not form.isupper()}
    near = get_close_matches(spec.split(":")[0].lower(), kinds, n=1)
    guess = f" Did you mean {kinds[near[0]]}?" if near else ""
    choices = "; ".join(f"{form} ({meaning})" for form, meaning in accepted.items())
    return ValueError(f"{option} must be one of: {choices}; got {spec!r}.{guess}")
