"""A bundle of LR images that were made elsewhere, as a leaderboard asks for: who has them can reproduce it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import walk

from ida_rd.bundle.publish import publish
from ida_rd.commands import main


def test_who_has_the_lr_images_reproduces_them_and_the_site_says_so(
    walked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `docs/leaderboard.md` says, to the option."""
    shutil.copytree(
        walked / "data/lr/x4/mine", walked / "lr", ignore=lambda _, names: [n for n in names if n[-4:] != ".png"]
    )
    parameters = yaml.safe_load((walked / "params.yaml").read_text())
    parameters["downscalers"]["mine"] = {"method": "folder", "path": "lr"}
    (walked / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    walk(report=True)
    monkeypatch.setattr("ida_rd.bundle.publish._refuse_stale", lambda root: None)  # here is no DVC that would tell
    bundle = tmp_path / "bundles/mine"
    bundle.parent.mkdir()
    publish(walked, bundle, images=False)
    again = ["verify", str(bundle), "--rerun", "2", "--images", "photos"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(again)
    assert ended.value.code == 2
    assert "1 fewer than the 2 branches asked for" in capsys.readouterr().err
    main([*again, "--file", "downscalers.mine.path=lr", "--json"])
    said = capsys.readouterr().out
    assert {entry["branch"] for entry in json.loads(said)["rerun"]["branches"]} == {
        "flow-compact x4 bicubic",
        "flow-compact x4 mine",
    }
    bundle.with_name("mine.rerun.ann.json").write_text(said)
    main(["site", *(str(path) for path in sorted(bundle.parent.iterdir())), "--out", str(tmp_path / "site"), "--json"])
    (told,) = json.loads(capsys.readouterr().out)["bundles"].values()
    assert told["reproduced"] == {"flow-compact x4 bicubic": ["ann"], "flow-compact x4 mine": ["ann"]}
