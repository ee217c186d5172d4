"""Weights by name: what the table says is true, downloads are checked, and what is missing is told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from posesplat.cli.main import main
from posesplat.learned.config import NetworkConfig
from posesplat.learned.named_weights import WEIGHTS, fetched, located, named
from posesplat.learned.weights import load_network

MOST_BYTES = 20_000_000


def test_tiny_comes_with_the_package_and_is_what_the_table_says() -> None:
    row = named("tiny")
    data = row.path.read_bytes()
    assert len(data) == row.size_bytes < MOST_BYTES
    assert hashlib.sha256(data).hexdigest() == row.sha256
    assert load_network("tiny").config == NetworkConfig.named("tiny")
    record = json.loads(row.path.with_suffix(".json").read_text())
    assert record["seed"] == 0 and record["log"][-1]["loss"] < 0.5 * record["log"][0]["loss"]


def test_the_command_that_made_tiny_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(named("tiny").path.with_suffix(".json").read_text())
    arguments = record["command"].split()[1:]
    # A width that no patch divides is refused after all options were read, before anything is trained.
    arguments[arguments.index("--width") + 1] = "127"
    assert main(arguments) != 0
    assert "multiples of 8 pixels; got 127" in capsys.readouterr().err


def test_fetching_checks_the_file_and_keeps_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remote = tmp_path / "remote.safetensors"
    remote.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    row = replace(named("tiny"), name="other", source=remote.as_uri(), sha256=digest, size_bytes=7)
    monkeypatch.setitem(WEIGHTS, "other", row)
    with pytest.raises(FileNotFoundError, match="posesplat weights fetch other"):
        located("other")
    assert fetched(row).read_bytes() == b"weights"
    assert located("other") == row.path
    wrong = replace(row, sha256="0" * 64)
    with pytest.raises(ValueError, match="Nothing was kept"):
        fetched(wrong)
    assert not wrong.path.exists()
    gone = replace(row, source=(tmp_path / "gone").as_uri(), sha256="1" * 64)
    with pytest.raises(OSError, match="cannot be reached"):
        fetched(gone)
    row.path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"Delete the file and fetch other again"):
        fetched(row)


def test_official_weights_are_not_fetched_unchecked_but_found_where_they_were_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = [row for row in WEIGHTS.values() if row.sha256 is None]
    assert {row.source.rpartition("/resolve/main/")[0] for row in rows} == {
        "https://huggingface.co/RanranHuang/SPFSplat",
        "https://huggingface.co/RanranHuang/SPFSplatV2",
    }
    for row in rows:
        assert row.size_bytes is None and row.source.endswith(".ckpt") and "not for commercial use" in row.licence
        with pytest.raises(ValueError, match=r"nothing is downloaded unchecked\. Download .* by hand"):
            fetched(row)
        with pytest.raises(FileNotFoundError, match="weights convert FILE --out"):
            located(row.name)
    assert not any(tmp_path.iterdir())
    row.path.parent.mkdir(parents=True)
    row.path.write_bytes(b"put here by hand")
    assert located(row.name) == row.path


def test_the_command_lists_finds_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list"]) == 0
    listed = capsys.readouterr().out
    assert str(named("tiny").sha256) in listed
    assert "re10k_spfsplatv2.ckpt, revision main\n  sha256    unknown: not fetched; download it by hand" in listed
    for action in ("where", "fetch"):
        assert main(["weights", action, "tiny"]) == 0
        assert Path(capsys.readouterr().out.strip()) == named("tiny").path
    assert main(["weights", "where", "huge"]) != 0
    assert "must be one of tiny" in capsys.readouterr().err
