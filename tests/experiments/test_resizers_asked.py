"""Which functions the study of resize functions runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import modify_yaml
from made import script

from ida_rd.core.errors import UserError
from ida_rd.core.readers import read_yaml as _read

HERE = Path(__file__).resolve().parents[2] / "experiments/resizers"


def read_yaml(path: Path) -> dict[str, Any]:
    return _read(path, hint="")


def test_what_no_question_names_is_taken_out_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("params.yaml", "resizers.yaml"):
        shutil.copy(HERE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = script("resizers/asked.py")
    before = read_yaml(Path("params.yaml"))
    monkeypatch.setattr("sys.argv", ["asked.py"])
    asked.main()
    after = read_yaml(Path("params.yaml"))
    questions = read_yaml(Path("resizers.yaml"))["questions"].values()
    named = {name for question in questions for pair in question["pairs"] for name in pair}
    assert named <= set(after["downscalers"]) < set(before["downscalers"])
    assert {**before, "downscalers": 0} == {**after, "downscalers": 0}
    assert all(before["downscalers"][name] == entry for name, entry in after["downscalers"].items())

    monkeypatch.setattr("sys.argv", ["asked.py", "dpid"])
    asked.main()
    assert set(read_yaml(Path("params.yaml"))["downscalers"]) == {"bicubic", "dpid", "pillow-lanczos"}
    assert "3 of" in capsys.readouterr().out
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("  dpid: {method: dpid}", "  'dpid': {method: dpid}"))
    before = read_yaml(Path("params.yaml"))
    monkeypatch.setattr("sys.argv", ["asked.py", "shrink-on-load"])
    with pytest.raises(UserError, match=r"params\.yaml: cannot be shortened .*: git checkout params\.yaml"):
        asked.main()
    assert read_yaml(Path("params.yaml")) == before
    monkeypatch.setattr("sys.argv", ["asked.py", "sharpness"])
    with pytest.raises(UserError, match="no such question, but magic-kernel"):
        asked.main()


def test_entries_that_dvc_has_wrapped_are_taken_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``dvc exp run -S`` writes params.yaml anew, long entries on several lines."""
    for name in ("params.yaml", "resizers.yaml"):
        shutil.copy(HERE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    with modify_yaml("params.yaml") as params:
        params["factors"] = [2]
    text = Path("params.yaml").read_text()
    assert sum(line.startswith("   ") for line in text.splitlines()) > 5, "nothing is wrapped"
    before = read_yaml(Path("params.yaml"))
    asked = script("resizers/asked.py")
    monkeypatch.setattr("sys.argv", ["asked.py", "video"])
    asked.main()
    after = read_yaml(Path("params.yaml"))
    assert {**before, "downscalers": 0} == {**after, "downscalers": 0}
    assert "own-hermite" in after["downscalers"]
    assert "sharp" not in after["downscalers"]


def test_s_star_is_asked_for_by_one_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("params.yaml", "resizers.yaml"):
        shutil.copy(HERE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    before = read_yaml(Path("params.yaml"))
    asked = script("resizers/asked.py")
    monkeypatch.setattr("sys.argv", ["asked.py", "--adapted", "dpid"])
    asked.main()
    after = read_yaml(Path("params.yaml"))
    assert "adapted" not in before
    assert after["adapted"] == {
        "adapted": {"method": "flow", "adapt": {"images": "photos", "exclude_licence": "CC-BY-SA"}}
    }
    assert {**before, "downscalers": 0, "adapted": 0} == {**after, "downscalers": 0, "adapted": 0}
    assert set(after["downscalers"]) == {"bicubic", "dpid", "pillow-lanczos"}
    written = Path("params.yaml").read_bytes()
    with pytest.raises(UserError, match=r"params\.yaml: has no comment with adapted .*: git checkout params\.yaml"):
        asked.main()
    assert Path("params.yaml").read_bytes() == written
