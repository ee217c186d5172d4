"""What every source of features must do; see :mod:`posesplat.providers.features.provider`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posesplat.geometry.frame import Frame
from posesplat.providers.features.provider import FeatureProvider
from posesplat.testing.check import (
    Check,
    answer_or_refusal,
    demand,
    demand_array,
    demand_close,
    demand_kind,
    demand_name,
    run_checks,
    unchanged,
    without_gpu,
)
from posesplat.testing.material import blank, halved, sample_frames

_SAME = 2e-3
"""Share of the channels' standard deviation by which sums in another order may differ."""


@dataclass(frozen=True)
class FeatureTrial:
    """A source of features on trial."""

    make: Callable[[], FeatureProvider]
    """Makes it, with the same options and seed each time."""
    frames: Sequence[Frame] = field(default_factory=sample_frames)
    """At least two different ones, with images."""

    @property
    def images(self) -> list[np.ndarray]:
        """The frames' images."""
        return [frame.image for frame in self.frames if frame.image is not None]

    def fitted(self) -> FeatureProvider:
        """A source that has seen the clip."""
        provider = self.make()
        provider.fit(self.images)
        return provider


def _members(trial: FeatureTrial) -> None:
    provider = trial.make()
    demand_kind(provider, FeatureProvider, "name, channels, fit and features")
    demand_name(provider)
    demand(isinstance(provider.channels, int) and provider.channels > 0, "channels", "1 or more", provider.channels)


def _demand_on_grid(what: str, found: Any, image: np.ndarray, channels: int) -> None:
    demand_array(what, found, (*image.shape[:2], channels), np.float32)
    demand(np.isfinite(found).all(), what, "finite numbers", "NaN or infinity")


def _grid(trial: FeatureTrial) -> None:
    provider = trial.fitted()
    for image in [*trial.images, np.asarray(halved(trial.frames[0]).image)]:
        _demand_on_grid(
            f"features of {image.shape[1]} x {image.shape[0]}", provider.features(image), image, provider.channels
        )


def _fits_any_iterable(trial: FeatureTrial) -> None:
    """A clip is too long to be held: images come one after the other, once."""
    listed, streamed = trial.fitted(), trial.make()
    streamed.fit(image for image in trial.images)
    image = trial.images[0]
    demand_close("features after fit(generator)", listed.features(image), streamed.features(image))


def _inputs_unchanged(trial: FeatureTrial) -> None:
    provider, images = trial.make(), [image.copy() for image in trial.images]
    with unchanged("images", images):
        provider.fit(images)
        for image in images:
            found = provider.features(image)
            if found.flags.writeable:
                found += np.float32(1)


def _deterministic(trial: FeatureTrial) -> None:
    image, provider = trial.images[0], trial.fitted()
    first = provider.features(image).copy()
    demand_close("features asked for again", first, provider.features(image))
    demand_close("features by another one made and fitted alike", first, trial.fitted().features(image))


def _equivariant_to_order(trial: FeatureTrial) -> None:
    forward, backward = trial.fitted(), trial.make()
    backward.fit(trial.images[::-1])
    found = [forward.features(image).copy() for image in trial.images]
    reverse = [backward.features(image).copy() for image in reversed(trial.images)]
    for index, (one, other) in enumerate(zip(found, reversed(reverse), strict=True)):
        near = _SAME * float(one.std())
        demand_close(f"features of image {index} with the clip in reverse order", one, other, absolute=near)


def _degenerate_input(trial: FeatureTrial) -> None:
    provider = trial.fitted()
    grey = np.asarray(blank(trial.frames[0]).image)
    for what, image in (("a blank image", grey), ("one pixel", grey[:1, :1])):
        found = answer_or_refusal(f"features of {what}", lambda image=image: provider.features(image))  # type: ignore[misc]
        if found is not None:
            _demand_on_grid(f"features of {what}", found, image, provider.channels)


def _works_on_cpu(trial: FeatureTrial) -> None:
    with without_gpu():
        provider = trial.fitted()
        found = provider.features(trial.images[0])
    _demand_on_grid("features without a GPU", found, trial.images[0], provider.channels)


def _meaning_held(trial: FeatureTrial) -> None:
    provider = trial.fitted()
    first, last = (provider.features(image).copy() for image in (trial.images[0], trial.images[-1]))
    demand(not np.array_equal(first, last), "features of two different images", "different numbers", "the same")
    alone = trial.make()
    alone.fit(trial.images)
    demand_close("features of the last image, seen first", last, alone.features(trial.images[-1]))


FEATURE_CHECKS: tuple[Check[FeatureTrial], ...] = (
    Check("members", "it is made without arguments, has a name, and says how many channels it gives", _members),
    Check("grid", "there is a float32 value for every channel and pixel, whatever the image's size", _grid),
    Check("fits_any_iterable", "fit takes images one after the other, once", _fits_any_iterable),
    Check("inputs_unchanged", "images stay as they were given", _inputs_unchanged),
    Check("deterministic", "equal clips and images give equal features", _deterministic),
    Check(
        "equivariant_to_order", "features follow their images when the order of the clip changes", _equivariant_to_order
    ),
    Check("degenerate_input", "blank and tiny images give finite features or a refusal", _degenerate_input),
    Check("works_on_cpu", "it works without a GPU and answers in NumPy arrays", _works_on_cpu),
    Check("meaning_held", "features tell images apart, in one unit whatever was seen before", _meaning_held),
)
"""By name; each is called with a :class:`FeatureTrial`."""


def check_feature_provider(make: Callable[[], FeatureProvider], frames: Sequence[Frame] | None = None) -> None:
    """Put all :data:`FEATURE_CHECKS` to a source of features.

    Args:
        make: makes it, with the same options and seed each time.
        frames: takes the place of :func:`posesplat.testing.sample_frames`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.
    """
    run_checks("feature provider", FEATURE_CHECKS, FeatureTrial(make) if frames is None else FeatureTrial(make, frames))
