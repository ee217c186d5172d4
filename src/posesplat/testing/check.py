"""What a conformance check is, and what all of them share: failing with words, watching inputs, hiding the GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np

from posesplat.geometry.frame import Frame

Trial = TypeVar("Trial")
"""A plug-in and what it is tried with."""
Answer = TypeVar("Answer")


_LONGEST_WORDS = 400
"""Characters of an error that are told."""


@dataclass(frozen=True)
class Check(Generic[Trial]):
    """One named demand on a plug-in."""

    name: str
    """Short, a valid test id."""
    demands: str
    """What must hold, in one sentence."""
    run: Callable[[Trial], None]
    """Raises AssertionError where it does not."""

    def __call__(self, trial: Trial) -> None:
        """Put the demand to a plug-in.

        Raises:
            AssertionError: when it is not met, or the plug-in raised what it must not; says what, expected and got.
        """
        try:
            self.run(trial)
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error} (Demand: {self.demands})") from error
        except Exception as error:
            raise AssertionError(
                f"{self.name}: expected an answer; got {_told(error)} (Demand: {self.demands})"
            ) from error

    def __str__(self) -> str:
        return self.name


def _told(error: Exception) -> str:
    """The kind of an error and the beginning of its words."""
    words = str(error)
    return f"{type(error).__name__}: {words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS] + ' ...'}"


def run_checks(kind: str, checks: Sequence[Check[Trial]], trial: Trial) -> None:
    """Run all checks, and tell all that failed at once.

    Raises:
        AssertionError: when any fails.
    """
    faults = []
    for check in checks:
        try:
            check(trial)
        except AssertionError as error:
            faults.append(str(error))
    if faults:
        lines = "\n".join(f"- {fault}" for fault in faults)
        raise AssertionError(f"This {kind} fails {len(faults)} of {len(checks)} checks:\n{lines}")


def fail(what: str, expected: object, got: object) -> NoReturn:
    """Raise the AssertionError of a demand that is not met."""
    raise AssertionError(f"{what}: expected {expected}; got {got}.")


def demand(holds: bool | np.bool_, what: str, expected: object, got: object) -> None:
    """Fail unless something holds."""
    if not holds:
        fail(what, expected, got)


def demand_close(
    what: str, expected: np.ndarray, got: Any, relative: float = 0.0, absolute: float = 0.0, unit: str = ""
) -> None:
    """Fail unless an array is another one, within a tolerance; NaN is equal to NaN."""
    got = np.asarray(got)
    demand(got.shape == expected.shape, what, f"shape {expected.shape}", f"shape {got.shape}")
    if expected.dtype == bool:
        differing = int((got != expected).sum())
        demand(not differing, what, "the same", f"{differing} of {expected.size} values that differ")
        return
    near = np.isclose(got, expected, rtol=relative, atol=absolute, equal_nan=True)
    if not near.all():
        place = np.unravel_index(int(np.argmin(near)), near.shape) if near.ndim else ()
        index = tuple(int(number) for number in place)
        fail(f"{what} at {index}", f"{expected[place]:.6g}{unit}", f"{got[place]:.6g}{unit}")


def demand_array(what: str, value: Any, shape: tuple[int, ...], dtype: type) -> None:
    """Fail unless a value is a NumPy array in this computer's memory, of a shape and type."""
    if not isinstance(value, np.ndarray):
        fail(what, "a NumPy array", f"{type(value).__module__}.{type(value).__name__}")
    demand(
        value.shape == shape and value.dtype == dtype,
        what,
        f"{np.dtype(dtype).name} of shape {shape}",
        f"{value.dtype} of shape {value.shape}",
    )


def demand_name(plugin: Any) -> None:
    """Fail unless a plug-in is called something."""
    name = plugin.name
    demand(isinstance(name, str) and bool(name.strip()), "name", "words for results and messages", repr(name))


def demand_kind(plugin: Any, protocol: type, members: str) -> None:
    """Fail unless a plug-in has the members of a protocol."""
    demand(isinstance(plugin, protocol), type(plugin).__name__, f"the members {members}", _members(plugin))


def _members(plugin: Any) -> str:
    return ", ".join(name for name in dir(plugin) if not name.startswith("_")) or "none"


REFUSALS = (ValueError, OSError)
"""What a plug-in raises when it cannot do what is asked."""


def answer_or_refusal(what: str, ask: Callable[[], Answer]) -> Answer | None:
    """What a plug-in answers, or None where it refuses with a reason.

    Raises:
        AssertionError: when it raises anything but a ValueError or OSError with words.
    """
    try:
        return ask()
    except REFUSALS as error:
        demand(len(str(error).split()) >= 3, what, "a refusal that says why", f"{type(error).__name__}: {error!s}")
        return None
    except Exception as error:
        fail(what, "an answer, or a ValueError or OSError that says why", _told(error))


@contextmanager
def unchanged(what: str, arrays: Sequence[np.ndarray | None]) -> Iterator[None]:
    """Fail when the block changes an array."""
    before = [None if array is None else array.copy() for array in arrays]
    yield
    for index, (array, copy) in enumerate(zip(arrays, before, strict=True)):
        if (
            array is not None
            and copy is not None
            and not np.array_equal(array, copy, equal_nan=array.dtype.kind == "f")
        ):
            differing = int((array != copy).sum())
            fail(f"{what}, array {index}", "left as it was given", f"{differing} of {copy.size} values changed")


def arrays_of(frames: Sequence[Frame]) -> list[np.ndarray | None]:
    """The images and depths of frames."""
    return [array for frame in frames for array in (frame.image, frame.depth)]


@contextmanager
def without_gpu() -> Iterator[None]:
    """Hide GPUs from whatever asks in the block: CUDA_VISIBLE_DEVICES is empty, and torch, if loaded, says no."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch = sys.modules.get("torch")
    told = None if torch is None else torch.cuda.is_available
    if torch is not None:
        torch.cuda.is_available = lambda: False
    try:
        yield
    finally:
        if torch is not None:
            torch.cuda.is_available = told
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
