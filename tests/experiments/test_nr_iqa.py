"""Table 12: measures of one image beside what they rest on."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, SMALL, stage_here
from made import make_rows, script
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ida_rd.core.errors import UserError
from ida_rd.quality import niqe
from ida_rd.quality.niqe.model import constant, read_pristine

NAMES = [f"i{i}" for i in range(6)]
PHOTOGRAPHS = ["p0", "p0", "p0", "p1", "p1", "p2"]  # uneven: they count alike, whatever their tiles
LEVELS = {"bicubic": 0.1, "blur-1": 0.2, "blur-2": 0.3, "blur-4": 0.2}
HERE = ROOT / "experiments/nr-iqa"


@pytest.fixture(scope="module")
def nr_iqa() -> ModuleType:
    script("nr-iqa/told.py")
    return script("nr-iqa/nr_iqa.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, astronaut: NDArray[np.uint8]) -> Path:
    """Six HR tiles of 384 pixels of three photographs, their plan, and scores that are made up."""
    folder = tmp_path_factory.mktemp("made")
    parameters = yaml.safe_load(SMALL)
    experiment = yaml.safe_load((HERE / "params.yaml").read_text())
    parameters |= {"downscalers": experiment["downscalers"], "factors": [4]}
    parameters["images"] = {"source": "folder", "path": "data/hr", "crop": 384}
    (folder / "data/hr").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        y, x = 64 * (i // 3), 64 * (i % 3)
        Image.fromarray(astronaut[y : y + 384, x : x + 384]).save(folder / f"data/hr/{name}.png")
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = stage_here("plan", cwd=folder)
    assert done.returncode == 0, done.stderr
    subset = {"image_id": NAMES, "file": [f"{n}.png" for n in NAMES], "photograph": PHOTOGRAPHS}
    pd.DataFrame(subset).to_csv(folder / "data/subset.csv", index=False)
    for downscaler, level in LEVELS.items():
        make_rows(folder / "data/distortion/flow-compact/x4", downscaler, level, np.linspace(1, 2, 6))
    path = folder / "data/plan/aggregate.json"
    plan = json.loads(path.read_text()) | {
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": {"label": "LPIPS", "better": "lower"}},
    }
    path.write_text(json.dumps(plan))
    settings = yaml.safe_load((HERE / "nr-iqa.yaml").read_text()) | {"data": "made", "sizes": [384, 192, 96, 48]}
    settings["paper"]["niqe"][384] = [1.0, 2.0, 3.0, 4.25]
    (folder / "nr-iqa.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder


def _enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    patch.setenv("IDA_RD_WORKERS", "1")
    patch.setenv("TORCH_HOME", str(folder / "cache"))


@pytest.fixture(scope="module")
def results(nr_iqa: ModuleType, made: Path) -> Path:
    """What the experiment makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        _enter(made, patch)
        nr_iqa.main()
    return made / "results/made"


@pytest.fixture
def planned(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same before it ran, free to be changed; the working directory."""
    here = tmp_path / "run"
    shutil.copytree(made, here, ignore=shutil.ignore_patterns("results"))
    _enter(here, monkeypatch)
    return here


def test_every_cell_says_what_it_rests_on_or_why_it_is_not_there(results: Path, made: Path) -> None:
    assert {path.name for path in results.iterdir()} == {
        "images.csv", "nr-iqa.json", "nr-iqa.md", "nr-iqa.pdf", "nr-iqa.png", "nr-iqa.svg", "nr-iqa.tex", "table.csv",
    }  # fmt: skip
    images = pd.read_csv(results / "images.csv")
    own = niqe.load(niqe.Parameters())
    hr = Image.open(made / "data/hr/i4.png")
    for size, name, sigma in ((384, "bicubic", 0), (192, "blur-2", 2)):
        lr = hr.resize((size, size), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(sigma))
        row = images[(images.image_id == "i4") & (images["size"] == size) & (images.downscaler == name)]
        row = row[row.measure == "niqe"]
        assert row.value.item() == pytest.approx(own.score(np.asarray(lr)).value, abs=1e-6)
        assert row.patches.item() == (size // 96) ** 2
    table = pd.read_csv(results / "table.csv").set_index(["measure", "size", "downscaler"])
    cell = table.loc[("niqe", 384, "bicubic")]
    values = images.query("size == 384 and downscaler == 'bicubic' and measure == 'niqe'").set_index("image_id").value
    by_photograph = values.groupby(PHOTOGRAPHS).mean()
    assert cell["mean"] == pytest.approx(by_photograph.mean(), abs=1e-6)
    assert (cell.least_patches, cell.marked, cell.undefined, cell.images) == (16, 6, 0, 6)
    assert table.loc["niqe"].loc[96].undefined.tolist() == [6] * 4
    assert table.loc[("niqe", 96, "bicubic")].reason.endswith("96 x 96 pixels hold 1")
    assert table.loc[("niqe", 48, "bicubic")].reason.endswith("48 x 48 pixels hold 0")
    assert np.isnan(table.loc[("niqe", 96, "bicubic")]["mean"])
    score = table.loc["ida-rd"]
    assert score.index.get_level_values(0).unique().tolist() == [96]
    assert score.loc[(96, "blur-1")]["mean"] == pytest.approx(0.2 * (1.2 + 1.7 + 2) / 3 + 0.0005)


def test_what_it_tells_is_computed(results: Path) -> None:
    found = json.loads((results / "nr-iqa.json").read_text())
    told, fixed = " ".join(found["findings"]), constant(read_pristine())
    assert found["constants"]["by_model"] == {"own": pytest.approx(fixed)}
    low, high = found["constants"]["ours"]
    assert fixed - 0.05 < low < high < fixed + 0.05
    assert found["constants"]["cells"] == 24
    assert "NIQE (own model) is not defined at 96 and 48 pixels" in told
    assert "Table 12 prints 18.867 to 18.873 in all 12 cells below 192 pixels" in told
    assert "and 1.000 to 7.133 in the 16 others" in told
    assert f"a constant of its model, not of the image: {fixed:.3f} by the model 'own'" in told
    assert "At 32 pixels 2 of the 4 BRISQUE cells of Table 12 are 43.458" in told
    images = pd.read_csv(results / "images.csv").query("size == 384 and downscaler == 'bicubic'")
    wide = images.pivot(index="image_id", columns="measure", values="value")
    difference = (wide["niqe-4"] - wide["niqe"]).groupby(PHOTOGRAPHS).mean().mean()
    assert f"By 4 patches in the place of 16 the same LR images of 384 pixels score {difference:+.2f}" in told
    # The scores that are made up fall from blur 2 to blur 4.
    assert "IDA-RD: LPIPS (flow-compact) calls each stronger blur worse, by its means, at none of 96 pixels" in told
    page = (results / "nr-iqa.md").read_text()
    assert told in page
    assert "Not measured: its files are not here (brisque.model, brisque.range" in page
    assert "-: 384 pixels: this run scored nothing at x1." in page
    row = next(line for line in page.splitlines() if line.startswith("| 384 | 16 patches |"))
    assert row.endswith("| 1.000 | 2.000 | 3.000 | 4.250 |")
    latex = (results / "nr-iqa.tex").read_text()
    assert r"NIQE (own model) & 96 & - & - & - & - & - & - & - & - \\" in latex
    assert latex.count("& 4.250") == 1


def test_the_papers_constant_is_recognised_by_a_model_that_has_it(nr_iqa: ModuleType, planned: Path) -> None:
    """A model scaled so that its constant is the paper's, beside ours, whose is not."""
    from safetensors.numpy import save_file

    own = read_pristine()
    scale = constant(own) / 18.87
    save_file({"mean": own.mean, "covariance": own.covariance * scale**2}, planned / "toolbox.safetensors")
    settings = yaml.safe_load((planned / "nr-iqa.yaml").read_text())
    settings |= {"models": {"toolbox": "toolbox.safetensors"}, "sizes": [96], "blurs": {"bicubic": 0}}
    (planned / "nr-iqa.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    nr_iqa.main()
    told = (planned / "results/made/nr-iqa.md").read_text()
    assert "The model 'toolbox', of constant 18.870, is the paper's." in told
    assert "The model 'own'" not in told


def test_maniqa_by_its_line_is_measured_or_the_page_says_what_is_missing(
    nr_iqa: ModuleType, planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that is commented out, since package and weights are for non-commercial use."""
    monkeypatch.setenv("TORCH_HOME", str(planned / "empty"))
    text = (HERE / "nr-iqa.yaml").read_text()
    assert text.count("  # maniqa: {method: pyiqa") == 1
    entry = yaml.safe_load(text.replace("  # maniqa: {", "  maniqa: {"))["measures"]["maniqa"]
    settings = yaml.safe_load((planned / "nr-iqa.yaml").read_text())
    settings |= {"measures": {"niqe": {"method": "niqe"}, "maniqa": entry}, "sizes": [192, 96], "blurs": {"bicubic": 0}}
    (planned / "nr-iqa.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    nr_iqa.main()
    page = (planned / "results/made/nr-iqa.md").read_text()
    assert "## MANIQA (Table 12 alone)" in page
    if find_spec("pyiqa") is None:
        assert "Not measured: the package pyiqa is not installed: pip install 'ida-rd[pyiqa]' (non-commercial: " in page
    else:
        assert "Not measured: " in page
        assert "PolyForm Noncommercial" in page


def test_a_measure_of_pyiqas_has_a_dash_with_the_reason_below_its_least_side(nr_iqa: ModuleType, planned: Path) -> None:
    pytest.importorskip("pyiqa", reason="needs the package pyiqa, which is non-commercial: pip install 'ida-rd[pyiqa]'")
    from scipy.io import savemat

    own = read_pristine()
    savemat(planned / "own.mat", {"mu_prisparam": own.mean[None], "cov_prisparam": own.covariance})
    entry = {"method": "pyiqa", "metric": "niqe", "path": str(planned / "own.mat")}
    settings = yaml.safe_load((planned / "nr-iqa.yaml").read_text())
    settings |= {"measures": {"niqe": entry}, "fewer": {}, "sizes": [192, 96], "blurs": {"bicubic": 0}}
    (planned / "nr-iqa.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    nr_iqa.main()
    page = (planned / "results/made/nr-iqa.md").read_text()
    assert "## NIQE (weights of a file, by pyiqa: non-commercial), lower is better" in page
    assert "-: 96 pixels: NIQE needs 192 pixels a side; this image has 96 x 96 (of a single patch pyiqa takes" in page
    table = pd.read_csv(planned / "results/made/table.csv").set_index(["measure", "size"])["mean"]
    assert np.isfinite(table["niqe", 192])
    assert np.isnan(table["niqe", 96])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sizes": [100]}, r"nr-iqa\.yaml: sizes: 100 does not divide 384, the side of data/hr/i0\.png"),
        ({"sizes": [192]}, r"nr-iqa\.yaml: sizes: the run scored LR images of 96 pixels: name one of these too"),
        ({"blurs": {"bicubic": 0, "blur-9": 9}}, r"nr-iqa\.yaml: blurs: params\.yaml has no downscaler blur-9"),
        (
            {"measures": {"n": {"method": "nqie"}}},
            r"measures\.n\.method: no quality method is called 'nqie'; did you mean",
        ),
        ({"measures": {"ida-rd": {"method": "niqe"}}}, r"measures\.ida-rd: give it another name"),
        ({"measures": {"n": {"path": "x"}}}, r"measures\.n: give it another name, and a method"),
        ({"size": [96]}, r"nr-iqa\.yaml\.size: unknown key; did you mean 'sizes'"),
    ],
)
def test_mistakes_in_its_settings_are_named(
    nr_iqa: ModuleType, planned: Path, change: dict[str, object], problem: str
) -> None:
    settings = yaml.safe_load((planned / "nr-iqa.yaml").read_text()) | change
    (planned / "nr-iqa.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    with pytest.raises(UserError, match=problem):
        nr_iqa.main()
    assert not (planned / "results").exists()


def test_the_papers_cells_are_those_of_the_shared_tables(shared: Path) -> None:
    printed = yaml.safe_load((shared / "paper/tables.yaml").read_text())["table_12_no_reference"]
    assert yaml.safe_load((HERE / "nr-iqa.yaml").read_text())["paper"] == printed
