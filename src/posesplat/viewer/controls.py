"""The panel beside the scene: what is shown, playback along time, pictures of the frame that is looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posesplat.evaluate.frame_errors import standard_deviations
from posesplat.evaluate.reports.tracking_facts import grouped_remarks, times_of
from posesplat.viewer.drawing import FOUND, FOUND_NAMES, DrawnResult, draw_regions, draw_rendered, place
from posesplat.viewer.rendered import Picture, frame_pictures
from posesplat.viewer.shown import ShownResult
from posesplat.viewer.stage import Stage

PARTS = {
    "Gaussians": "Gaussians",
    "path found": "Found path",
    "path true": "True path",
    "covariance": "95 % ellipsoids",
    "refused": "Refused frames",
    "views of the map": "Views of the map",
}
"""Parts of a drawn result and what their switches say."""
_PICTURES = ("seen", "rendered", "difference")
_ON_CAMERAS = ("seen", "rendered", "no cameras")
_SPEEDS = {"1 frame/s": 1.0, "4 frames/s": 4.0, "10 frames/s": 10.0, "30 frames/s": 30.0}
_MAGNIFICATIONS = ("1", "2", "5", "10", "20", "50", "100", "200", "500", "1000")
_LOOKING_BACK = 1e-3
_MOST_REMARKS = 6
_EMPTY = np.full((9, 12, 3), 58, dtype=np.uint8)


@dataclass
class Controls:
    """The panel; everything that it does can also be called."""

    stage: Stage
    step: int = 0
    """Number of the frame that is looked at, in every result that has so many."""
    playing: bool = False
    picture: str = "seen"
    """Which picture of the frame is shown: seen, rendered or difference."""
    _handles: dict[str, Any] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _cache: dict[tuple[int, int], dict[str, Picture]] = field(default_factory=dict)

    @staticmethod
    def add(stage: Stage) -> Controls:
        """Put the panel beside a stage and show the first frame."""
        stage.server.gui.configure_theme(show_logo=False, show_share_button=False)
        stage.server.gui.main_panel.dock_right()
        controls = Controls(stage)
        controls._add_parts()
        if controls.frames:
            controls._add_time()
        controls._add_facts()
        if controls.frames:
            controls.go_to(0)
        return controls

    @property
    def frames(self) -> int:
        """Frames of the longest result."""
        return max((len(one.result.trajectory) for one in self.stage.drawn), default=0)

    def go_to(self, step: int) -> None:
        """Look at a frame: its camera is marked in every result and its pictures are shown."""
        with self._lock, self.stage.server.atomic():
            self.step = int(np.clip(step, 0, max(self.frames - 1, 0)))
            words = []
            for number, one in enumerate(self.stage.drawn):
                if len(one.result.trajectory):
                    words.append(self._show_frame(number, one))
            self._handles["words"].content = "\n\n".join(words)
            if "time" in self._handles and self._handles["time"].value != self.step:
                self._handles["time"].value = self.step

    def play_on(self) -> None:
        """Go to the next frame, from the last to the first."""
        self.go_to((self.step + 1) % max(self.frames, 1))

    def run(self, stop: threading.Event) -> None:
        """Play while the switch is on, until ``stop`` is set."""
        while not stop.is_set():
            began = time.monotonic()
            if self.playing and self.frames > 1:
                self.play_on()
            pause = 1.0 / _SPEEDS[self._handles["speed"].value] if "speed" in self._handles else 0.2
            stop.wait(max(pause - (time.monotonic() - began), 0.02))

    def show_on_cameras(self, which: str) -> None:
        """Which pictures the drawn cameras carry: seen, rendered, or no cameras at all."""
        with self._lock:
            if which == "rendered":
                for number, one in enumerate(self.stage.drawn):
                    draw_rendered(self.stage.server.scene, one, _colour(number), self.stage.amount, False)
            with self.stage.server.atomic():
                for one in self.stage.drawn:
                    for kind in ("seen", "rendered"):
                        handle = one.parts.get(f"cameras {kind}")
                        if handle is not None:
                            handle.visible = kind == which

    def magnify(self, factor: int) -> None:
        """Draw the ellipsoids so many times their size."""
        with self._lock:
            for number, one in enumerate(self.stage.drawn):
                one.magnification = factor
                draw_regions(self.stage.server.scene, one, _colour(number), self.stage.amount.ellipsoids)

    def look_through(self, client: Any) -> None:
        """Take a browser to the camera of the frame that is looked at, of the first result that has posed it."""
        for one in self.stage.drawn:
            result = one.result
            pose = result.trajectory[self.step].cam_from_world if self.step < len(result.trajectory) else None
            if pose is None:
                continue
            scene_from_cam = one.scene_from_world * pose.inv()
            camera = result.cameras[self.step]
            forward = scene_from_cam.rotation.apply([0.0, 0.0, 1.0])
            centre = scene_from_cam.translation
            with client.atomic():
                client.camera.up_direction = -scene_from_cam.rotation.apply([0.0, 1.0, 0.0])
                client.camera.position = centre - _LOOKING_BACK * one.layout.depth * forward
                client.camera.look_at = centre + one.layout.depth * forward
                client.camera.fov = 2.0 * float(np.arctan2(0.5 * camera.height, camera.fy))
            one.now.visible = False
            return

    def _show_frame(self, number: int, one: DrawnResult) -> str:
        result = one.result
        index = min(self.step, len(result.trajectory) - 1)
        pose = result.trajectory[index].cam_from_world
        pictures = self._pictures(number, index)
        if one.now is not None:
            one.now.visible = pose is not None
            if pose is not None:
                place(one.now, pose)
                one.now.image = pictures.get(self.picture)
        handle = self._handles.get(f"picture {number}")
        if handle is not None:
            handle.image = pictures.get(self.picture, _EMPTY)
        return frame_words(result, index, self.picture not in pictures and self.picture)

    def _pictures(self, number: int, index: int) -> dict[str, Picture]:
        """Rendered only when something rendered is looked at."""
        result, amount = self.stage.drawn[number].result, self.stage.amount
        if self.picture == "seen":
            return {"seen": result.seen[index]} if index in result.seen else {}
        key = (number, index)
        if key not in self._cache:
            self._cache[key] = frame_pictures(result, index, amount.picture_px, amount.threads)
        return self._cache[key]

    def _add_parts(self) -> None:
        gui = self.stage.server.gui
        with gui.add_folder("Show"):
            if len(self.stage.drawn) > 1:
                for one in self.stage.drawn:
                    self._switch(one.result.label, [one.root])
            for part, label in PARTS.items():
                handles = [one.parts[part] for one in self.stage.drawn if part in one.parts]
                if handles and part != "covariance":
                    self._switch(label, handles)
            if any(one.regions is not None for one in self.stage.drawn):
                self._add_covariance(gui)
            if any("cameras seen" in one.parts for one in self.stage.drawn):
                cameras = gui.add_dropdown("Cameras with", _ON_CAMERAS, initial_value="seen")
                _on_update(cameras, self.show_on_cameras)

    def _add_covariance(self, gui: Any) -> None:
        switch = gui.add_checkbox(PARTS["covariance"], True)

        def show(on: bool) -> None:
            for one in self.stage.drawn:
                if "covariance" in one.parts:
                    one.parts["covariance"].visible = on

        _on_update(switch, show)
        first = next(str(one.magnification) for one in self.stage.drawn if one.regions is not None)
        self.magnify(int(first))
        size = gui.add_dropdown("Ellipsoids, times", _MAGNIFICATIONS, initial_value=first)
        _on_update(size, lambda value: self.magnify(int(value)))

    def _switch(self, label: str, handles: list[Any]) -> None:
        box = self.stage.server.gui.add_checkbox(label, True)

        def show(on: bool) -> None:
            for handle in handles:
                handle.visible = on

        _on_update(box, show)

    def _add_time(self) -> None:
        gui = self.stage.server.gui
        with gui.add_folder("Frames"):
            if self.frames > 1:
                self._handles["time"] = gui.add_slider("Frame", 0, self.frames - 1, 1, 0)
                _on_update(self._handles["time"], lambda value: None if value == self.step else self.go_to(int(value)))
                play = gui.add_checkbox("Play", False)
                _on_update(play, lambda on: setattr(self, "playing", bool(on)))
                self._handles["speed"] = gui.add_dropdown("Speed", tuple(_SPEEDS), initial_value="4 frames/s")
            look = gui.add_button("Look through this camera")
            look.on_click(lambda event: None if event.client is None else self.look_through(event.client))
            kinds = gui.add_dropdown("Picture", _PICTURES, initial_value="seen")
            _on_update(kinds, self._choose_picture)
            for number, one in enumerate(self.stage.drawn):
                if one.result.seen or (one.result.gaussians is not None and len(one.result.trajectory)):
                    label = one.result.label if len(self.stage.drawn) > 1 else None
                    self._handles[f"picture {number}"] = gui.add_image(_EMPTY, label=label)
            self._handles["words"] = gui.add_markdown("")

    def _choose_picture(self, kind: str) -> None:
        self.picture = kind
        self.go_to(self.step)

    def _add_facts(self) -> None:
        gui = self.stage.server.gui
        for number, one in enumerate(self.stage.drawn):
            with gui.add_folder(one.result.label):
                gui.add_markdown(result_words(one, FOUND_NAMES[number % len(FOUND)]))


def _on_update(handle: Any, work: Callable[[Any], object]) -> None:
    """Call ``work`` with the new value whenever a control is moved."""
    handle.on_update(lambda _: work(handle.value))


def _colour(number: int) -> tuple[int, int, int]:
    return FOUND[number % len(FOUND)]


def frame_words(result: ShownResult, index: int, missing: str | bool = False) -> str:
    """What the panel says of one frame, as Markdown."""
    estimate = result.trajectory[index]
    times, kind = times_of(result.trajectory)
    when = f", {times[index]:.2f} s" if kind == "time (s)" else ""
    words = f"**{_escaped(result.trajectory.names[index])}**, {index + 1} of {len(result.trajectory)}{when}: "
    if not estimate.success:
        words += f"refused. {_escaped(estimate.reason)}"
    else:
        sigma, sigma_deg = standard_deviations(estimate)
        factor, unit = (1e3, "mm") if estimate.scale.metric else (1.0, "units")
        sure = f", sigma {factor * sigma:.3g} {unit}, {sigma_deg:.3g} deg" if np.isfinite(sigma) else ""
        words += f"posed{sure}. " + " ".join(_escaped(warning) for warning in estimate.warnings)
    if missing:
        words += f" *No picture {missing}.*"
    return words.strip()


def result_words(one: DrawnResult, colour: str) -> str:
    """What the panel says of one result, as Markdown."""
    result = one.result
    lines = []
    if len(result.trajectory):
        posed = int(result.trajectory.posed.sum())
        lines.append(f"{posed} of {len(result.trajectory)} frames posed; {colour}, the truth green")
    if result.gaussians is not None:
        drawn = min(len(result.gaussians), one.splats)
        thinned = f", the {drawn:,} most visible drawn" if drawn < len(result.gaussians) else ""
        lines.append(f"{len(result.gaussians):,} Gaussians{thinned}")
    if result.views:
        lines.append(f"map seen from {len(result.views)} views (grey)")
    lines.append("unit: metre" if result.metric else "unit: unknown, that of the map or the first frame")
    lines += [_escaped(note) for note in result.notes]
    remarks = grouped_remarks(result.trajectory)
    for group in remarks[:_MOST_REMARKS]:
        kind = "refused" if group.refused else "warned"
        lines.append(f"{kind}, {len(group.names)} frames from {_escaped(group.names[0])}: {_escaped(group.text)}")
    if len(remarks) > _MOST_REMARKS:
        lines.append(f"and {len(remarks) - _MOST_REMARKS} more remarks; see report.html")
    return "\n".join(f"- {line}" for line in lines)


def _escaped(text: str) -> str:
    """Text that Markdown and the panel's HTML leave as it is."""
    return "".join("\\" + letter if letter in "\\`*_{}[]<>#|" else letter for letter in text)
