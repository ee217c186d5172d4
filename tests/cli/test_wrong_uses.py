"""What people do wrong, in every command: one line with the cause and the cure, the right status, nothing written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from wrong_files import make_wrong_files

from posesplat.cli.commands import COMMANDS
from posesplat.cli.main import main


class WrongUse(NamedTuple):
    """One row of the table."""

    arguments: str
    """{clip}, {map}, {a}, {b} are right; {wrong} is the folder of wrong files; the output would be ./out."""
    cause: str
    """Regular expression of what is said to be wrong."""
    cure: str
    """Regular expression of what is said to help."""


LOCALIZE = [
    WrongUse("localize", "MAP and --out DIR must be given", "localize --help"),
    WrongUse("localize {map} {clip}", "--out DIR must be given", "localize --help"),
    WrongUse("localize {map} {clip} --out", "Missing value for argument '--out'", "--help"),
    WrongUse("localize {map} {clip} --out ''", "--out must not be empty", "variable of the shell"),
    WrongUse("localize {map} '' --out out", "must not be empty", "variable of the shell"),
    WrongUse("localize nowhere.ply {clip} --out out", "PLY file at nowhere.ply; there is none", "Check the path"),
    WrongUse("localize {clip} {clip} --out out", "it is a folder", "name a file in it"),
    WrongUse("localize {wrong}/hello.txt {clip} --out out", "must be a PLY file", "Convert"),
    WrongUse("localize {wrong}/empty.ply {clip} --out out", "must be a PLY file", "Convert"),
    WrongUse("localize {wrong}/cut.ply {clip} --out out", "cut short.*4907|cut short", "Copy or export"),
    WrongUse("localize {wrong}/header.ply {clip} --out out", "expected end_header", "Export the file again"),
    WrongUse("localize {wrong}/points.ply {clip} --out out", "without opacity", "posesplat map"),
    WrongUse("localize {map} nowhere --out out", "there is nothing at nowhere", "Check the path"),
    WrongUse("localize {map} {wrong}/empty --out out", "found none", "Pass the folder that holds the images"),
    WrongUse("localize {map} {wrong}/hello.txt --out out", "Expected a video .* or an image", "Convert"),
    WrongUse("localize {map} {wrong}/bad.mp4 --out out", "nothing in it can be decoded", "Convert it"),
    WrongUse("localize {map} '*.nothing' --out out", "matches 0 files", "Quote the pattern"),
    WrongUse("localize {map} {wrong}/no_camera --out out", "no camera was given", "--camera"),
    WrongUse("localize {map} {wrong}/cut_camera --out out", "must be a JSON object", "Correct the file"),
    WrongUse("localize {map} {wrong}/camera_without_fy --out out", "got no fy", "Correct the file"),
    WrongUse("localize {map} {wrong}/negative_focal --out out", "focal lengths must be positive", "multiplied"),
    WrongUse("localize {map} {wrong}/other_width --out out", "999 x 120 pixels", "Pass the camera of these images"),
    WrongUse("localize {map} {wrong}/lost_image --out out", "there is none", "Check the path"),
    WrongUse("localize {map} {wrong}/cut_image --out out", "cannot be decoded or breaks off", "Copy or export"),
    WrongUse("localize {map} {wrong}/small_depth --out out", "160 x 120 .* got 80 x 60", "one pixel grid"),
    WrongUse("localize {map} {wrong}/eight_bits --out out", "got uint8", "use the original depth file"),
    WrongUse("localize {map} {wrong}/zero_scale --out out", "depth_scale must be a positive number", "1000 for milli"),
    WrongUse("localize {map} {wrong}/bad_truth --out out", "got '1 2 3'", "Check the column order"),
    WrongUse("localize {map} {clip} --out out --depth-scale 1", "looks like millimetres read as metres", "--depth-sc"),
    WrongUse("localize {map} {clip} --out out --depth-scale 0", "--depth-scale must be a positive", "1000 for milli"),
    WrongUse("localize {map} {clip} --out out --depth-scale five", "--depth-scale takes FLOAT; got 'five'", "--help"),
    WrongUse("localize {map} {a} --out out --camera 130,130,80", "nor 4, 8 or 9 numbers", "fx,fy,cx,cy"),
    WrongUse("localize {map} {a} --out out --camera 0.8,1.1,0.5,0.5", "look normalised", "fx and cx times 160"),
    WrongUse("localize {map} {a} --out out --camera nowhere.json", "neither a file", "a camera.json"),
    WrongUse("localize {map} {clip} --out out --every 0", "must be at least 1; got 0", "Leave them out"),
    WrongUse("localize {map} {clip} --out out --first 100", "at least one of 6 frames", "Count from 0"),
    WrongUse("localize {map} {clip} --out out --objective depth", "nvalid choice 'depth'", "Expected one of .*plane"),
    WrongUse("localize {map} {wrong}/no_depth --out out --objective plane", "has an image only", "pass depth"),
    WrongUse("localize {map} {clip} --out out --start prevous", "--start must be one of", "Did you mean previous"),
    WrongUse("localize {map} {clip} --out out --start {wrong}/short_rows.txt", "rows of 3 values", "Pass a file"),
    WrongUse(
        "localize {map} {clip} --out out --start {wrong}/later.txt", "must hold poses of these", "belong together"
    ),
    WrongUse("localize {map} {clip} --out out --ground-truth nowhere", "nowhere does not exist", "Check the path"),
    WrongUse("localize {map} {clip} --out out --export obj", "comma-separated list.*got 'obj'", "kitti, colmap"),
    WrongUse("localize {map} {clip} --out out --threads 0", "--threads must be between 1", "Leave it out"),
    WrongUse("localize {map} {clip} --out out --seed -1", "--seed must be between 0", "Leave it out"),
    WrongUse("localize {map} {clip} --out out --pictures -1", "--pictures must be at least 0", "Leave it out"),
    WrongUse("localize {map} {clip} --out out --max-start 1", "no argument --max-start 1", "Did you mean --max-starts"),
    WrongUse("localize {map} {clip} --out {wrong}/hello.txt", "it is a file", "another --out"),
    WrongUse("localize {map} {clip} --out {wrong}/hello.txt/out", "hello.txt is a file", "another --out"),
    WrongUse("localize {map} {clip} --out {wrong}/other_result", "must be a result of posesplat", "another --out"),
    WrongUse("localize {map} {clip} --out {wrong}/foreign", "posesplat did not write", "another --out"),
    WrongUse("localize {map} {clip} --out /proc/out", "/proc cannot be written", "another --out"),
    WrongUse("localise {map} {clip} --out out", "unknown command 'localise'", "Did you mean localize"),
]
MAP = [
    WrongUse("map {clip} --out out.obj", "must be the name of a .ply file", "Write --out out.ply"),
    WrongUse("map {clip} --out {wrong}/hello.txt/out.ply", "hello.txt is a file", "another --out"),
    WrongUse("map {clip} --out /proc/out.ply", "/proc cannot be written", "another --out"),
    WrongUse("map {wrong}/no_depth --out out.ply", "images without depth", "Pass a folder with depth"),
    WrongUse("map {wrong}/no_truth --out out.ply", "needs the poses", "Pass --poses"),
    WrongUse("map {wrong}/no_measurement --out out.ply", "got 0 measured pixels", "Check the depth image"),
    WrongUse("map {clip} --out out.ply --poses nowhere", "does not exist", "Check the path"),
    WrongUse("map {clip} --out out.ply --poses {wrong}/one.txt", "got 1 poses", "belong together"),
    WrongUse("map {clip} --out out.ply --poses {wrong}/zero_quaternion.txt", "quaternion of length 0", "Correct the l"),
    WrongUse("map {clip} --out out.ply --poses {wrong}/cut.json", "must be a JSON object", "Export the file again"),
    WrongUse("map {clip} --out out.ply --poses {wrong}/bad.npz", "no NPZ archive", "Write it again"),
    WrongUse("map {clip} --out out.ply --stride 0", "--stride must be at least 1|needs sizes above 0", "eave"),
]
TRACK = [
    WrongUse("track --out out", "got none", "--help"),
    WrongUse("track {wrong}/no_camera --out out", "no camera was given", "'auto'"),
    WrongUse("track {wrong}/no_depth --out out --depth sensor", "is colour alone", "Pass RGB-D frames"),
    WrongUse("track {clip} --out out --depth sensr", "--depth must be one of", "Did you mean sensor"),
    WrongUse("track {clip} --out out --depth {wrong}/empty", "Expected depth.* found none", "Check the path"),
    WrongUse("track {clip} --out out --features dino", "--features must be one of", "Did you mean dinov2"),
    WrongUse("track {clip} --out out --masks atuo", "--masks must be one of", "Did you mean auto"),
    WrongUse("track {clip} --out out --resume", "there is none", "Leave --resume out"),
    WrongUse("track {clip} --out out --readout 2", r"must lie in \[-1.5, 1.5\]", "Divide the readout time"),
    WrongUse("track {clip} --out out --max-points 0", "--max-points must be at least 1", "Leave it out"),
    WrongUse("track {wrong}/no_depth --out out --method smallgs", "needs depth", "Pass --depth"),
]
PAIR = [
    WrongUse("pair {a} --out out", "B must be given", "pair --help"),
    WrongUse("pair {a} {b} {a} --out out", "There is no argument", "pair --help"),
    WrongUse("pair {a} nowhere.png --out out", "there is none", "Check the path"),
    WrongUse("pair {a} {clip} --out out", "it is a folder", "name a file in it"),
    WrongUse("pair {a} {wrong}/text.png --out out", "cannot be decoded", "Copy or export"),
    WrongUse("pair {a} {b} --out out --depth-a {wrong}/half_size.png", "got 80 x 60", "one pixel grid"),
    WrongUse("pair {a} {b} --out out --depth-a {wrong}/millimetres.npy", "millimetres read as metres", "--depth-scale"),
    WrongUse("pair {a} {b} --out out --depth-a {wrong}/three_channels.npy", "one channel", "original depth file"),
    WrongUse("pair {a} {b} --out out --depth-a {wrong}/bad.npy", "does not begin as", "numpy.save"),
    WrongUse("pair {a} {b} --out out --depth transfomers:x/y", "--depth must be one of", "Did you mean transformers"),
    WrongUse("pair {a} {b} --out out --matcher orb", "--matcher must be one of", "sift"),
    WrongUse("pair {a} {b} --out out --matcher file:nowhere", "there is no such file", "Check the path"),
    WrongUse("pair {a} {b} --out out --method garps", "needs depth of both", "Pass --depth-a and --depth-b"),
    WrongUse("pair {a} {b} --out out --min-soft-inliers nan", "must be a number; got nan", "Leave it out"),
    WrongUse("pair {a} {b} --out out --camera exif", "got no EXIF", "Pass the camera's intrinsics"),
]
BRIDGE = [
    WrongUse("bridge {a} {b} --out out --inbetween {wrong}/empty", "must hold clips", "Check --inbetween"),
    WrongUse("bridge {a} {b} --out out --inbetween diffusers:/nowhere", "no folder /nowhere", "Check the path"),
    WrongUse("bridge {a} {b} --out out --inbetween runway", "RUNWAYML_API_SECRET; it is not set", "export RUNWAYML"),
    WrongUse("bridge {a} {b} --out out --inbetween luma", "by address only", "pass --image-urls"),
    WrongUse("bridge {a} {b} --out out --estimator magic", "--estimator must be one of", "tracks"),
    WrongUse("bridge {a} {b} --out out --images 2", "--images must be at least 3", "Leave it out"),
    WrongUse("bridge {a} {b} --out out --image-urls x", "takes STR STR; got 'x'", "bridge --help"),
]
RECONSTRUCT = [
    WrongUse("reconstruct {a} --out out", "2 to 10 images .* got 1 image", "Name the images"),
    WrongUse("reconstruct {wrong}/empty --out out", "got 0 images", "one folder that holds them"),
    WrongUse("reconstruct {wrong}/bad.mp4 {a} --out out", "is a video", "Export the frames"),
    WrongUse("reconstruct {a} {b} --out out --query nowhere.png", "there is none", "Check the path"),
    WrongUse("reconstruct {a} {b} --out out --weights huge", "Weights must be one of tiny", "weights list"),
    WrongUse("reconstruct {a} {b} --out out --weights {wrong}/bad.safetensors", "no safetensors file", "Copy it again"),
    WrongUse("reconstruct {a} {b} --out out --side 0", "--side must be between 32", "Leave it out"),
]
TRAIN = [
    WrongUse("train nowhere --out out", "Expected a folder of training data", "Check the path"),
    WrongUse("train rooms --out out --steps 0", "--steps must be at least 1", "Leave it out"),
    WrongUse("train rooms --out {wrong}/hello.txt", "hello.txt is a file", "another --out"),
    WrongUse("train rooms --out out --start none.safetensors", "No weights of a network there", "posesplat train"),
    WrongUse("train rooms --out out --perceptual none.pt2", "No perceptual difference there", "torch.export"),
    WrongUse("train rooms --out out --devices 0", "--devices must be between 1 and 1024", "Leave it out"),
    WrongUse("train rooms --out out --size huge", "nvalid choice 'huge'", "Expected one of .*tiny"),
    WrongUse("train rooms --out out --learning-rate nan", "must be a number; got nan", "Leave it out"),
]
OTHERS = [
    WrongUse("weights", "Expected one of .*list, fetch, where", "weights --help"),
    WrongUse("weights fetch huge", "Weights must be one of tiny", "weights list"),
    WrongUse("weights fetch spfsplatv2-re10k", "SHA-256 to be fetched; it is unknown", "by hand"),
    WrongUse("weights where spfsplat-acid", "spfsplat-acid are not here yet", "weights convert FILE"),
    WrongUse("weights download tiny", "no argument download tiny", "Expected one of: list, fetch, where, convert"),
    WrongUse("weights convert", "FILE and --out OUT must be given", "weights --help"),
    WrongUse("weights convert nowhere.ckpt --out out.safetensors", "No weights of a network there", "official check"),
    WrongUse("weights convert tiny --out out.safetensors", "must be an official checkpoint", "need no conversion"),
    WrongUse("weights convert {wrong}/bad.safetensors --out out.safetensors", "no safetensors file", "Copy it again"),
    WrongUse("weights convert {wrong}/hello.txt --out out.safetensors", "no safetensors file", "Copy it again"),
    WrongUse("weights convert tiny --out out", "--out must name a .safetensors file; got out", "ending"),
    WrongUse("weights convert tiny --out {wrong}/bad.safetensors", "must be a new file", "another --out"),
    WrongUse("evaluate {wrong}/path.txt nowhere", "does not exist", "Check the path"),
    WrongUse("evaluate {wrong}/later.txt {wrong}/path.txt", "No timestamps within 0.01 s", "--max-time-difference-s"),
    WrongUse("evaluate {wrong}/still.txt {wrong}/path.txt", "stands still", "--align none"),
    WrongUse("evaluate {wrong}/one.txt {wrong}/path.txt", "at least 3 pairs", "--align none"),
    WrongUse("evaluate {wrong}/words.txt {wrong}/path.txt", "not a finite number", "Correct the line"),
    WrongUse("evaluate {wrong}/bytes.txt {wrong}/path.txt", "no rows of text", "Pass a file"),
    WrongUse("evaluate {wrong}/other.npz {wrong}/path.txt", "'names' is missing", "Write it again"),
    WrongUse("evaluate {wrong}/path.txt {wrong}/path.txt --delta 0", "--delta must be at least 1", "Leave it out"),
    WrongUse("bench", "Expected one of .*kernel", "bench --help"),
    WrongUse("bench localize --suite real --data nowhere", "--data must be a folder", "Check the path"),
    WrongUse("bench kernel --runs 0", "--runs must be at least 1", "Leave it out"),
    WrongUse("bench kernel --out {wrong}/hello.txt", "hello.txt is a file", "another --out"),
    WrongUse("demo --frames 0", "--frames must be at least 1", "Leave it out"),
    WrongUse("demo --out {wrong}/hello.txt", "it is a file", "another --out"),
    WrongUse("demo --out {wrong}/other_result", "must be a result of posesplat", "another --out"),
    WrongUse("doctor --jsn", "no argument --jsn", "Did you mean --json"),
    WrongUse("completion tcsh", "nvalid choice 'tcsh'", "Expected one of .*bash"),
]
VIEW = [
    WrongUse("view", "Nothing to view", "pass at least one output folder"),
    WrongUse("view nowhere", "nowhere does not exist", "Check the path"),
    WrongUse("view {wrong}/empty", "result.json", "Pass"),
    WrongUse("view {map} --port 99999", "--port must be between 0 and 65535", "Leave it out"),
    WrongUse("view {map} --max-splats 0", "--max-splats must be at least 1", "Leave it out"),
    WrongUse("view {map} --host example.invalid --port 0", "example.invalid", "127.0.0.1"),
]
TABLE = [*LOCALIZE, *MAP, *TRACK, *PAIR, *BRIDGE, *RECONSTRUCT, *TRAIN, *VIEW, *OTHERS]


@pytest.fixture(scope="session")
def wrong(tmp_path_factory: pytest.TempPathFactory, clip: Path, map_file: Path) -> Path:
    return make_wrong_files(tmp_path_factory.mktemp("wrong") / "files", clip, map_file)


@pytest.fixture
def words(
    wrong: Path, clip: Path, map_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path | str]:
    for variable in ("POSESPLAT_DEBUG", "POSESPLAT_THREADS", "RUNWAYML_API_SECRET", "LUMAAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    first, second = sorted((clip / "rgb").iterdir())[:2]
    return {"wrong": wrong, "clip": clip, "map": map_file, "a": first, "b": second}


def everything_below(*folders: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_size) for folder in folders for path in folder.rglob("*")}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.arguments)
def test_a_wrong_use_is_one_line_with_cause_and_cure(
    row: WrongUse, words: dict[str, Path | str], capfd: pytest.CaptureFixture[str], tmp_path: Path, wrong: Path
) -> None:
    before = everything_below(tmp_path, wrong)
    assert main(shlex.split(row.arguments.format(**words))) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"posesplat: error: [^\n]+[.?)]\n", said.err), said.err
    assert re.search(row.cause, said.err), said.err
    assert re.search(row.cure, said.err), said.err
    assert everything_below(tmp_path, wrong) == before


def test_the_table_has_every_command() -> None:
    assert len(TABLE) >= 60
    assert {row.arguments.split()[0] for row in TABLE} >= set(COMMANDS)


REFUSED = [
    ("localize {map} {wrong}/no_measurement --count 1", 4, "no measured depth"),
    ("pair {wrong}/grey.png {a}", 4, "Image A is blank"),
    ("pair {a} {a}", 4, "No parallax"),
    ("track {wrong}/cut_image", 3, "cannot be decoded"),
    ("track {wrong}/grey.png --camera auto", 4, "picture is blank"),
]
"""What cannot be posed is no wrong use: it is written, with the reason, and told by the status."""


@pytest.mark.parametrize(("arguments", "status", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_posed_has_a_reason(
    words: dict[str, Path | str],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: str,
    status: int,
    reason: str,
) -> None:
    assert main([*shlex.split(arguments.format(**words)), "--out", "out", "--no-report"]) == status
    told = " ".join(capfd.readouterr().out.split())
    assert re.search(reason, told), told
    assert reason in (tmp_path / "out" / "result.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
