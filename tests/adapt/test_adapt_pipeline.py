"""Adapted upscalers in the pipeline, as DVC runs it in a real repository: which stages there are, and what reruns."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL, edit, once, run, stage, walk
from training_photos import TINY, write_photos

from ida_rd.aggregate.results import Results
from ida_rd.bundle.folder import Refused
from ida_rd.bundle.publish import write_checksums
from ida_rd.bundle.told import WEIGHTS
from ida_rd.bundle.verify import verify
from ida_rd.core.files import sha256_file
from ida_rd.core.tables import read_table, write_table
from ida_rd.site.write import write_site

RUNNING = re.compile(r"^Running stage '([^']+)'", re.MULTILINE)
ADAPTED = {"tuned": {"method": "flow", "heat": 0.9, "adapt": {"images": "training", **TINY}}}
PARTS = ["s", "s_star", "gap", "excess", "lost", "unreadable"]
ENDS = {"plan", "aggregate"}


def _repro(repository: Path) -> set[str]:
    """Run the pipeline as far as the tables; return the stages that ran."""
    return set(RUNNING.findall(run("dvc", "repro", "aggregate", cwd=repository).stdout))


def _adapted(downscaler: str) -> set[str]:
    return {f"{name}@tuned-{downscaler}-4" for name in ("adapt", "upscale-adapted", "distort-adapted")}


def _branch(downscaler: str) -> set[str]:
    plain = {f"{name}@flow-compact-{downscaler}-4" for name in ("upscale", "distort")}
    return {f"downscale@{downscaler}-4"} | plain | _adapted(downscaler)


@pytest.fixture(scope="session")
def adapted(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository in which a run was given an adapted upscaler, and ran again. Copy it before changing it."""

    def make(path: Path) -> None:
        shutil.copytree(finished, path, symlinks=True, dirs_exist_ok=True)
        write_photos(path / "training")
        (path / "params.yaml").write_text(yaml.safe_dump(yaml.safe_load(SMALL) | {"adapted": ADAPTED}, sort_keys=False))
        assert _repro(path) == ENDS | _adapted("bicubic") | _adapted("mine"), "and nothing of the decoder as it was"

    return once(tmp_path_factory, "adapted", make)


@pytest.fixture
def mine(adapted: Path, tmp_path: Path) -> Path:
    """A copy of it, free to be changed."""
    shutil.copytree(adapted, tmp_path / "repository", symlinks=True)
    return tmp_path / "repository"


def test_an_adapted_decoder_is_a_row_of_its_own_with_its_marks(adapted: Path) -> None:
    scores = json.loads((adapted / "metrics/tables/ida_rd.json").read_text())
    assert {"flow-compact", "tuned"} <= set(scores)
    assert scores["tuned"]["x4"]["mine"]["dss"]["mean"] != scores["flow-compact"]["x4"]["mine"]["dss"]["mean"]
    rows = pd.read_csv(adapted / "data/distortion/tuned/x4/mine.csv")
    assert len(rows) == 8
    assert "matched" in (adapted / "metrics/tables/ida_rd.md").read_text()
    weights = [(adapted / f"data/adapt/x4/tuned/{name}.safetensors").read_bytes() for name in ("bicubic", "mine")]
    assert weights[0] != weights[1]
    assert not list((adapted / ".ida-rd/adapt").glob("*"))  # the state of finished trainings


def test_what_is_lost_stands_beside_what_is_unreadable(adapted: Path) -> None:
    table = pd.read_csv(adapted / "metrics/tables/matched.csv")
    assert set(zip(table.blind, table.adapted, table.downscaler, table.distortion, strict=True)) == {
        ("flow-compact", "tuned", d, m) for d in ("bicubic", "mine") for m in ("dss", "psnr")
    }
    scores = json.loads((adapted / "metrics/tables/ida_rd.json").read_text())
    for row in table.to_dict("records"):
        s, star = (scores[u]["x4"][row["downscaler"]][row["distortion"]]["mean"] for u in ("flow-compact", "tuned"))
        assert np.isclose(row["s"], s)
        assert np.isclose(row["s_star"], star)
        assert np.isclose(row["gap"], s - star if row["distortion"] == "dss" else star - s)
    assert table[PARTS].notna().all().all()
    assert "Lost, or only unreadable? flow-compact, x4" in (adapted / "metrics/tables/matched.md").read_text()


def test_the_page_shows_it(mine: Path) -> None:
    run("dvc", "repro", "report", cwd=mine)
    page = (mine / "metrics/report/index.html").read_text()
    assert "Lost, or only unreadable? flow-compact, ×4" in page
    assert (mine / "metrics/report/matched.png").is_file()
    assert "is not at home on the LR images of mine (" in page


@pytest.mark.slow
def test_what_was_trained_is_published_verified_and_shown(mine: Path, tmp_path: Path) -> None:
    """No row is made up here: weights were adapted, and S* is what they score."""
    run("dvc", "repro", cwd=mine)
    bundle = tmp_path / "bundles/trained"
    bundle.parent.mkdir()
    run("ida-rd", "publish", str(bundle), cwd=mine)
    checked = verify(bundle)
    assert any(what.startswith("adapted.tuned: its weights") for what in checked.unverified)
    made = {path.stem: sha256_file(path) for path in (mine / "data/adapt/x4/tuned").glob("*.safetensors")}
    assert json.loads((bundle / WEIGHTS).read_text()) == {f"x4/tuned/{name}": sha for name, sha in made.items()}

    write_site([bundle], tmp_path / "site")
    told = read_table(mine / "metrics/tables/matched.csv", hint="").set_index(["distortion", "downscaler"])
    boards = pd.concat([pd.read_csv(path) for path in sorted((tmp_path / "site").glob("board-*.csv"))])
    assert len(boards) == len(told) == 4
    for row in boards.to_dict("records"):
        part = told.loc[(row["distortion"], row["downscaler"])]
        assert np.isclose(row["mean"], part["s"])
        assert np.isclose(row["s_star"], part["s_star"])
        assert np.isclose(row["gap"], part["gap"])
        assert row["s_star_of"] == "trained"
    page = (tmp_path / "site/index.html").read_text()
    assert "<th>S*</th><th>gap</th>" in page
    assert "S* by trained: 3 steps of 1 patches of 32 x 32" in page
    assert (tmp_path / "site/bundles/trained/index.html").read_text().count('<table class="parts">') == 2

    table = read_table(bundle / "tables/matched.csv", hint="")
    write_table(bundle / "tables/matched.csv", table.assign(s_star=table.s_star + 1))
    write_checksums(bundle)
    with pytest.raises(Refused, match=r"tables/matched.csv: line 2, s_star is"):
        verify(bundle)


def test_nothing_reruns_where_nothing_changed(mine: Path) -> None:
    assert _repro(mine) == set()


@pytest.mark.slow
def test_changing_a_downscaler_retrains_and_reruns_its_branch_alone(mine: Path) -> None:
    edit(mine / "params.yaml", "filter: bicubic", "filter: box")
    before = (mine / "data/adapt/x4/tuned/mine.safetensors").read_bytes()
    assert _repro(mine) == ENDS | {"surprise"} | _branch("bicubic")
    assert (mine / "data/adapt/x4/tuned/mine.safetensors").read_bytes() == before


@pytest.mark.slow
def test_the_weights_are_what_a_branch_depends_on(mine: Path) -> None:
    """Another photograph reaches the adapted branches by the weights alone; the same ones elsewhere reach nothing."""
    adapted = _adapted("bicubic") | _adapted("mine")
    branch = mine / "data/plan/upscale/x4/tuned/mine.json"
    before = branch.read_bytes()
    write_photos(mine / "training", count=3)
    run("dvc", "repro", "--force", "--single-item", "plan", cwd=mine)  # as `make repro`: DVC does not see the folder
    assert branch.read_bytes() == before
    assert _repro(mine) == {"aggregate"} | adapted
    (mine / "training").rename(mine / "elsewhere")
    edit(mine / "params.yaml", "images: training", "images: elsewhere")
    assert _repro(mine) == {"plan"} | {name for name in adapted if name.startswith("adapt@")}


def test_weights_that_are_not_those_of_their_record_are_refused(mine: Path) -> None:
    weights = mine / "data/adapt/x4/tuned/mine.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = stage("upscale", "tuned", "4", "mine", cwd=mine)
    assert done.returncode == 2
    assert "is not the weight file that the record beside it names: run `dvc repro`" in done.stderr


def test_the_state_of_a_training_that_came_with_the_folder_is_not_taken_up(mine: Path) -> None:
    made = mine / "data/adapt/x4/tuned/mine.safetensors"
    record = json.loads(made.with_suffix(".json").read_text())
    planted = mine / ".ida-rd/adapt" / record["key"]
    planted.mkdir(parents=True)
    (planted / "checkpoint.pt").write_bytes(b"not this user's")
    before = made.read_bytes()
    shutil.rmtree(mine / ".ida-rd/store")
    made.unlink()
    run("python", "stages/adapt.py", "tuned", "4", "mine", cwd=mine)
    assert made.read_bytes() == before
    assert (planted / "checkpoint.pt").read_bytes() == b"not this user's"


def test_a_training_photograph_that_is_a_test_image_stops_the_run(mine: Path) -> None:
    shutil.copyfile(mine / "photos/photo-1.png", mine / "training/unlike.png")
    edit(mine / "params.yaml", "patch: 32", "patch: 16")
    done = run("dvc", "repro", "aggregate", cwd=mine, check=False)
    assert done.returncode
    wanted = "adapted.tuned.adapt.images: the training photograph training/unlike.png is the test image photo-1"
    assert wanted in done.stdout + done.stderr


def test_a_run_without_dvc_gives_the_same_files(adapted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("params.yaml", "mine.py"):
        shutil.copyfile(adapted / name, tmp_path / name)
    for name in ("photos", "training"):
        shutil.copytree(adapted / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    assert isinstance(walk(), Results)
    for folder in ("data/adapt", "data/sr", "data/distortion", "data/plan/adapt", "metrics/tables"):
        files = [path for path in (adapted / folder).rglob("*") if path.is_file() and path.name != ".gitignore"]
        assert files
        for path in files:
            if path.suffix != ".md" or folder != "data/adapt":  # the card has the cost
                assert (tmp_path / path.relative_to(adapted)).read_bytes() == path.read_bytes(), path


def test_without_the_section_there_is_no_such_stage(mine: Path) -> None:
    (mine / "params.yaml").write_text(SMALL)
    listed = run("dvc", "stage", "list", "--name-only", cwd=mine).stdout.split()
    assert not [name for name in listed if "adapt" in name]
    assert "upscale@flow-compact-mine-4" in listed
    # What was computed beside adapted decoders is what it would have been without them.
    # DVC may remember the plan of the run that these decoders were added to, and not run it.
    assert _repro(mine) | {"plan"} == ENDS
    for name in ("bicubic", "mine"):
        one = json.loads((mine / f"data/plan/upscale/x4/flow-compact/{name}.json").read_text())
        assert "adapted" not in one
