"""A benchmark that others can check: publish, verify, compare, on a real run in a real repository."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from conftest import commit, ida_rd_here, run
from forger import change_rows, make_fit
from tampered import TAMPERED, drop_a_row

from ida_rd.bundle.folder import Refused
from ida_rd.bundle.publish import write_checksums
from ida_rd.bundle.verify import verify
from ida_rd.core.files import sha256_file, write_json


def _ida_rd(*arguments: str, cwd: Path, refused: bool = False) -> str:
    # What verifies works in this process, but where the command itself is promised.
    done = (
        ida_rd_here(*arguments, cwd=cwd)
        if arguments[0] == "verify"
        else run("ida-rd", *arguments, cwd=cwd, check=False)
    )
    assert done.returncode == (2 if refused else 0), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if refused else done.stdout


@pytest.fixture(scope="module")
def published(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("publish") / "repository"
    shutil.copytree(finished, repository, symlinks=True)
    # An experiment that never ran is none of this run's business.
    other = repository / "experiments/other/dvc.yaml"
    other.parent.mkdir(parents=True)
    other.write_text("stages:\n  never:\n    cmd: 'false'\n    outs:\n      - nothing.txt\n")
    commit(repository, "first")
    _ida_rd("publish", "../bundle", cwd=repository)
    return repository.parent / "bundle"


@pytest.fixture
def bundle(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "bundle"))


def test_the_bundle_is_complete_and_says_what_made_it(published: Path, finished: Path) -> None:
    results = json.loads((published / "results.json").read_text())
    jsonschema.validate(results, json.loads((published / "results.schema.json").read_text()))
    assert len(results["commit"]) == 40
    assert results["uncommitted_changes"] is False
    assert [b["downscaler"] for b in results["branches"]] == ["bicubic", "mine"]
    metrics = json.loads((finished / "metrics/tables/ida_rd.json").read_text())
    assert [(b["marks"], b["kind"]) for b in results["branches"]] == [([], "flow")] * 2
    assert results["distortions"]["dss"]["kind"] == "structural"
    assert results["branches"][1]["scores"]["dss"] == metrics["flow-compact"]["x4"]["mine"]["dss"]
    weights = finished / "ida_rd/upscale/flow/weights/flow-compact_x4.safetensors"
    assert results["weights"]["flow-compact.x4"] == sha256_file(weights)
    assert "@inproceedings{liang2024idard" in (published / "CITATIONS.bib").read_text()
    licences = (published / "LICENCES.md").read_text()
    assert "* flow-compact x4: Apache-2.0 (trained" in licences
    assert "* flow-compact.x4 (sha256 `" in licences
    assert (published / "page/index.html").is_file()
    sums = run("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=published, check=False)
    assert sums.returncode == 0, sums.stdout
    assert "2 branches, every summary follows from the rows" in _ida_rd("verify", ".", cwd=published)


def test_pictures_can_be_left_out(repository: Path, tmp_path: Path) -> None:
    _ida_rd("publish", str(tmp_path / "b"), "--without-images", cwd=repository)
    names = {path.name for path in (tmp_path / "b").rglob("*")}
    assert not [name for name in names if "contact_sheet" in name or name.endswith((".webp", ".html"))]
    assert "scores.pdf" in names
    _ida_rd("verify", str(tmp_path / "b"), cwd=tmp_path)


@pytest.mark.parametrize(("tamper", "plain", "hidden"), TAMPERED, ids=[t[0].__name__.strip("_") for t in TAMPERED])
def test_a_bundle_that_was_changed_is_refused_with_the_reason(
    bundle: Path, tamper: Callable[[Path], None], plain: str, hidden: str
) -> None:
    tamper(bundle)
    with pytest.raises(Refused) as refusal:
        verify(bundle)
    assert plain in str(refusal.value)
    if not hidden:
        return
    # Whoever makes checksums and hashes fit meets what is computed.
    results = bundle / "results.json"
    data = json.loads(results.read_text())
    for branch in data["branches"]:
        path = bundle / "rows" / branch["upscaler"] / f"x{branch['factor']}" / f"{branch['downscaler']}.csv"
        branch["sha256"] = sha256_file(path) if path.is_file() else branch["sha256"]
    write_json(results, data)
    write_checksums(bundle)
    with pytest.raises(Refused) as refusal:
        verify(bundle)
    assert hidden in str(refusal.value)
    assert "checksum" not in str(refusal.value)


def test_a_refusal_is_one_line_and_exit_code_2(bundle: Path) -> None:
    drop_a_row(bundle)
    done = run("ida-rd", "verify", str(bundle), cwd=bundle.parent, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {bundle} is refused: rows/flow-compact/x4/mine.csv: its checksum differs")
    assert len(done.stderr.strip().splitlines()) == 1


def test_branches_run_again_from_the_images_give_the_same(bundle: Path, finished: Path) -> None:
    photos = str(finished / "photos")
    out = json.loads(_ida_rd("verify", str(bundle), "--rerun", "1", "--images", photos, "--json", cwd=bundle.parent))
    # `mine` is the publisher's own program.
    assert [entry["branch"] for entry in out["rerun"]["branches"]] == ["flow-compact x4 bicubic"]
    assert out["rerun"]["branches"][0]["largest"] == 0
    assert out["rerun"]["branches"][0]["same_software"] is True
    assert out["rerun"]["branches"][0]["notes"] == []
    assert "may not run with a stranger's parameters" in out["rerun"]["left_out"]["flow-compact x4 mine"]
    assert any("the rows come from these methods" in what for what in out["not_verified"])
    change_rows(bundle, "flow-compact/x4/bicubic", lambda rows: rows.assign(psnr=rows.psnr + 0.5))
    make_fit(bundle)
    error = _ida_rd("verify", str(bundle), "--rerun", "1", "--images", photos, cwd=bundle.parent, refused=True)
    assert re.search(r"bicubic: psnr of photo-\d, sample \d differs by 0\.\d+ of the spread over images", error)


def test_other_images_are_recognised(bundle: Path, finished: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(finished / "photos", photos)
    shutil.copyfile(photos / "photo-0.png", photos / "photo-1.png")
    error = _ida_rd("verify", str(bundle), "--rerun", "1", "--images", str(photos), cwd=tmp_path, refused=True)
    assert "these images give another test set" in error


def test_an_unfinished_or_stale_run_is_not_published(repository: Path, tmp_path: Path) -> None:
    parameters = repository / "params.yaml"
    parameters.write_text(parameters.read_text().replace("resamples: 200", "resamples: 300"))
    error = _ida_rd("publish", str(tmp_path / "b"), cwd=repository, refused=True)
    assert "not up to date (plan): run `make repro` first" in error
    assert not (tmp_path / "b").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    assert "not empty" in _ida_rd("publish", str(tmp_path / "full"), cwd=repository, refused=True)
    assert (tmp_path / "full/file").read_text() == "mine"
    assert "run `make repro` first" in _ida_rd("publish", str(tmp_path / "c"), cwd=tmp_path, refused=True)
    assert "not a published bundle" in _ida_rd("verify", str(tmp_path), cwd=tmp_path, refused=True)


FULL_DISK = """
import resource, sys
from pathlib import Path
from ida_rd.bundle import publish as module
from ida_rd.core.errors import exit_with_line

asked = module._refuse_stale

def then_the_disk_is_full(root):  # only now: DVC keeps databases of its own
    asked(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))

module._refuse_stale = then_the_disk_is_full
exit_with_line(lambda: module.publish(Path.cwd(), Path(sys.argv[1]), images=True))
"""


def test_a_bundle_that_cannot_be_written_whole_is_not_written(finished: Path, tmp_path: Path) -> None:
    """As on a full disk: no file may be as large as the contact sheet is."""
    sheet = max(path.stat().st_size for path in (finished / "metrics/plots").iterdir())
    done = run("python", "-c", FULL_DISK, str(tmp_path / "b"), str(sheet - 1), cwd=finished, check=False)
    assert done.returncode == 2, done.stderr
    assert "error: publish: cannot copy" in done.stderr
    assert "File too large" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_compare_says_that_nothing_changed(repository: Path) -> None:
    commit(repository, "first")
    same = _ida_rd("compare", "HEAD", cwd=repository)
    assert "No score changed: 4 are the same on every image." in same
    assert "No difference in code" in same


def test_compare_says_what_changed_and_whether_beyond_noise(changed: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(changed, repository, symlinks=True)
    summary = _ida_rd("compare", "before", cwd=repository)
    old, new = (
        json.loads(run("git", "show", f"{rev}:metrics/tables/ida_rd.json", cwd=repository).stdout)
        for rev in ("before", "HEAD")
    )
    means = [data["flow-compact"]["x4"]["bicubic"]["dss"]["mean"] for data in (old, new)]
    assert f"| flow-compact | x4 | bicubic | dss | {means[0]:.3f} | {means[1]:.3f} |" in summary
    assert "2 of 4 scores changed" in summary
    assert "New: flow-compact x4 lanczos." in summary
    assert "* downscale/x4/bicubic: parameters" in summary
    found = json.loads(_ida_rd("compare", "before", "--json", cwd=repository))
    moved = {(row["downscaler"], row["distortion"]) for row in found["changes"] if not row["same"]}
    assert moved == {("bicubic", "dss"), ("bicubic", "psnr")}
    assert "downscalers.bicubic.filter" in run("dvc", "params", "diff", "before", "--md", cwd=repository).stdout
    plots = run("dvc", "plots", "diff", "before", "HEAD", "--out", "plots", cwd=repository).stdout
    page = Path(plots.strip().removeprefix("file://"))
    text = page.read_text()
    assert text.count('"rev": "before"') + text.count('"rev":"before"') >= 3
    assert "flow-compact x4 lanczos" in text
    assert "knows no revision 'nowhere'" in _ida_rd("compare", "nowhere", cwd=repository, refused=True)
