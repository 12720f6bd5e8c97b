"""Downscalers beside a camera."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, walk
from made import script
from numpy.typing import NDArray
from PIL import Image

from ida_rd.distort import structural


def test_ssim_is_set_beside_the_papers_in_our_unit() -> None:
    camera = script("camera/camera.py")
    pairs = camera.Pairs(**yaml.safe_load((ROOT / "experiments/camera/camera.yaml").read_text()))
    labels = {"lpips-alex": "LPIPS (AlexNet)", "ssim": structural.describe(structural.Parameters(metric="ssim")).label}
    paper = camera.printed(pairs, labels)
    assert list(paper) == ["lpips-alex", "ssim"]
    assert paper["ssim"]["bilinear"] == pytest.approx(1 - 0.922)
    assert paper["lpips-alex"]["bilinear"] == 0.132
    # Twice ours, and two of them exchanged: rho over the seven that both have.
    losses = pd.DataFrame({"downscaler": paper["ssim"].index, "ssim": 2 * paper["ssim"].to_numpy(), "pair": "one"})
    losses.loc[losses.downscaler == "l0", "ssim"] = 2 * paper["ssim"]["dpid"] - 0.001
    found = camera.beside_paper(losses, {"ssim": paper["ssim"]}, {"ssim": 1})
    assert found["ssim"]["downscalers"] == 7
    assert found["ssim"]["spearman"] == pytest.approx(1 - 6 * 2 / (7 * 48))
    assert found["ssim"]["order"][:2] == ["bilinear", "bicubic"]


def test_the_camera_ranks_first_what_it_does_itself(walked: Path, astronaut: NDArray[np.uint8]) -> None:
    """A camera that is Pillow's bilinear filter, on either grid; pairs of sides that are no multiples of 4."""
    camera = script("camera/camera.py")
    here = walked
    (here / "pairs").mkdir()
    sizes = {"one": (130, 197), "two": (128, 128)}
    for name, (height, width) in sizes.items():
        hr = Image.fromarray(astronaut[40 : 40 + height, 100 : 100 + width])
        hr.save(here / f"pairs/{name}_HR.png")
        whole = hr.crop((0, 0, width // 4 * 4, height // 4 * 4))
        whole.resize((width // 4, height // 4), Image.Resampling.BILINEAR).save(here / f"pairs/{name}_LR4.png")
    parameters = yaml.safe_load((here / "params.yaml").read_text())
    parameters["images"] = {"source": "folder", "path": "pairs", "pattern": "*_HR.png", "crop": 64}
    parameters["balance"]["size"] = 5
    parameters["downscalers"] = {
        name: {"method": "resample", "filter": name} for name in ("lanczos", "bilinear", "nearest")
    }
    parameters["distortions"] = {"psnr": {"method": "pixel"}, "mse": {"method": "pixel", "metric": "mse"}}
    (here / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    shutil.copy(ROOT / "experiments/camera/camera.yaml", here)
    walk()
    camera.main()
    table = pd.read_csv(here / "results/realsr/pairs-x4.csv")
    assert set(table.grid) == {"LR"}
    assert (table[table.downscaler == "bilinear"].mse == 0).all()
    assert (table[table.downscaler != "bilinear"].mse > 0).all()
    figures = json.loads((here / "results/realsr/camera.json").read_text())["flow-compact-x4"]
    assert figures["psnr"]["order"][0] == figures["mse"]["order"][0] == "bilinear"
    # PSNR leads: higher is better, in the score as beside the camera, and so both coefficients agree.
    scores = pd.read_csv(here / "results/realsr/table.csv").set_index("downscaler")
    assert figures["psnr"]["kendall"] == pytest.approx(scores[["score", "psnr"]].corr("kendall").iloc[0, 1])
    assert figures["mse"]["kendall"] == pytest.approx(-scores[["score", "mse"]].corr("kendall").iloc[0, 1])
    assert set(figures["psnr"]["spearman_by_scene"]) == {"one", "two"}
    assert figures["paper"]["psnr"]["order"] == ["bilinear", "lanczos", "nearest"]
    by_scene = pd.read_csv(here / "results/realsr/scenes-flow-compact-x4.csv").set_index("scene")
    tiles = pd.read_csv(here / "data/distortion/flow-compact/x4/lanczos.csv").groupby("image_id").psnr.mean()
    means = tiles.groupby(tiles.index.str.split("_HR").str[0]).mean()
    assert by_scene.lanczos.to_dict() == pytest.approx(means.to_dict())
    assert by_scene.lanczos.mean() == pytest.approx(scores.score["lanczos"]), "scenes count alike, whatever their tiles"
    assert scores.score["lanczos"] != pytest.approx(tiles.mean(), rel=1e-9), "one scene has more tiles"
    assert scores.ci_low.isna().all(), "two scenes have no interval"
    text = (here / "results/realsr/camera.md").read_text()
    assert "2 pairs compared: 2 on the LR grid. 2 scenes are too few for an interval" in text
    assert "no test of 2 could give a p below 0.5" in text
    assert "The paper's Table 4 by PSNR (dB), on pairs of its own: bilinear, lanczos, nearest; rho with ours" in text
    first = scores.score.idxmax()  # PSNR
    assert re.search(rf"By the score, from least to most lost: {first} <", text)
    assert re.search(rf"\| one \| {by_scene.loc['one', first]:.3f} \([123]\) \|", text)

    for name, (height, width) in sizes.items():
        path = here / f"pairs/{name}_LR4.png"
        wide = Image.open(path).resize((width // 4 * 4, height // 4 * 4), Image.Resampling.BICUBIC)
        Image.fromarray(np.pad(np.asarray(wide), ((0, height % 4), (0, width % 4), (0, 0)))).save(path)
    camera.main()
    table = pd.read_csv(here / "results/realsr/pairs-x4.csv")
    assert set(table.grid) == {"HR"}
    assert ((table.mse == 0) == (table.downscaler == "bilinear")).all()

    Image.new("RGB", (50, 50)).save(here / "pairs/two_LR4.png")
    with pytest.raises(Exception, match=r"two_LR4\.png: 50 x 50 pixels, but its HR image has 128 x 128"):
        camera.main()
    (here / "pairs/two_LR4.png").unlink()
    with pytest.raises(Exception, match=r"1 HR images lack their LR image \(two_LR4\.png\)"):
        camera.main()
    assert "2 pairs" in (here / "results/realsr/camera.md").read_text(), "the results before are kept"
