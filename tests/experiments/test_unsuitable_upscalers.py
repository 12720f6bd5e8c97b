"""Tables 11, 3 and 5: the paper's cells as printed, and an entry for each network that loads what its file is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, stage_here
from golden.sr3.recipe import SMALL as SR3
from golden.sr3.recipe import saved
from judged import values_of
from made import script
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.methods import find_method, validate
from ida_rd.core.seeds import Draw
from ida_rd.models.sr3.config import Trained
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem

HERE = ROOT / "experiments/unsuitable-upscalers"
NETWORKS: dict[str, Any] = yaml.safe_load((HERE / "networks.yaml").read_text())
# The same network under the names of three repositories: of 2018, of 2019, and BasicSR's.
PLAIN = ("conv_first", "RRDB_trunk", "trunk_conv", "upconv1", "upconv2", "HRconv", "conv_last")
BASIC = ("conv_first", "body", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
STYLES: dict[str, tuple[tuple[str, ...], str, str | None]] = {
    "RRDB_ESRGAN_x4.pth": (PLAIN, "RDB", None),
    "BSRGAN.pth": (PLAIN, "RDB", None),
}
STYLES |= {"RealESRGAN_x4plus.pth": (BASIC, "rdb", "params_ema"), "RSR.pth": (BASIC, "rdb", "params")}


def _rrdb(names: tuple[str, ...], block: str, *, seed: int = 0, width: int = 8, growth: int = 32) -> dict[str, Any]:
    """A small network of the layout of ESRGAN, with random weights."""
    draw = torch.Generator().manual_seed(seed)
    state = {}

    def conv(name: str, inside: int, outside: int) -> None:
        state[f"{name}.weight"] = 0.1 * torch.randn(outside, inside, 3, 3, generator=draw)
        state[f"{name}.bias"] = 0.1 * torch.randn(outside, generator=draw)

    first, trunk, after, up1, up2, high, last = names
    conv(first, 3, width)
    for i in range(2):
        for j in (1, 2, 3):
            for k in range(5):
                conv(f"{trunk}.{i}.{block}{j}.conv{k + 1}", width + k * growth, growth if k < 4 else width)
    for name in (after, up1, up2, high):
        conv(name, width, width)
    conv(last, width, 3)
    state[f"{last}.bias"] += 0.5  # in the middle of what 8 bits can show
    return state


@pytest.fixture(scope="module", autouse=True)
def _here() -> Iterator[None]:
    """The experiment's own methods are found from its folder."""
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def at_hand() -> ModuleType:
    return script("at_hand.py")


@pytest.fixture(scope="module")
def small() -> ModuleType:
    return find_method("upscale", "unsuitable.small", where="here")


@pytest.fixture(scope="module")
def files(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for each network, of its names and a small size, some of them in folders of their own."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "imdn").mkdir()
    for name, (names, block, key) in STYLES.items():
        state = _rrdb(names, block)
        torch.save(state if key is None else {key: state}, folder / name)
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    drawings = Compact(num_feat=8, num_conv=2, upscale=4)
    torch.save({"params": drawings.state_dict()}, folder / "realesr-animevideov3.pth")
    torch.save({f"module.{k}": v for k, v in small.IMDN().state_dict().items()}, folder / "imdn/IMDN_x4.pth")
    more = {"upsample.up2.body.0.bias": torch.zeros(256), "upsample.up3.body.0.bias": torch.zeros(576)}
    torch.save(small.CARNM().state_dict() | more, folder / "carn_m.pth")
    saved(folder / "sr3_x4.safetensors", Trained(SR3.config, 4))
    (folder / "I640000_E37_gen.pth").write_bytes(b"of another factor")
    return folder


def _tables(shared: Path) -> dict[str, Any]:
    return yaml.safe_load((shared / "paper/tables.yaml").read_text())


def test_the_papers_cells_are_those_that_it_prints(shared: Path) -> None:
    paper, ours = _tables(shared), values_of("unsuitable-upscalers")["paper"]["columns"]
    names = {"ESRGAN": "esrgan", "BSRGAN": "bsrgan", "Real-ESRGAN": "real-esrgan", "SR3": "sr3", "RSR": "rsr"}
    assert {names[title]: column for title, column in ours.items()} == paper["table_11_unsuitable"]
    real = values_of("real-world")["paper"]["columns"]
    lanczos = {title.removeprefix("Table 5, ").lower(): cells for title, cells in real.items() if "Table 5" in title}
    assert lanczos == {name: {"lanczos": cell} for name, cell in paper["table_5_lanczos"].items()}
    third = {title.removeprefix("Table 3, ").lower(): cells for title, cells in real.items() if "Table 3" in title}
    assert third == paper["table_3_stable_diffusion"]


def test_every_row_of_table_11_has_an_entry() -> None:
    rows = {"esrgan", "bsrgan", "real-esrgan", "sr3", "rsr"}
    assert rows < NETWORKS.keys()
    blind = {name: network["entry"].get("blind", True) for name, network in NETWORKS.items()}
    assert [name for name in ("esrgan", "bsrgan", "real-esrgan", "rsr") if not blind[name]] == ["esrgan"]


@pytest.fixture
def entered(at_hand: ModuleType, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the script enters, the working directory being a copy of the experiment's."""
    pytest.importorskip("spandrel")
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "networks.yaml"):
        Path(name).write_text((HERE / name).read_text())
    monkeypatch.setattr(sys, "argv", ["at_hand.py", str(files)])
    at_hand.main()
    return yaml.safe_load(Path("params.yaml").read_text())["upscalers"]


def test_what_is_at_hand_is_entered_and_what_is_not_is_named(
    entered: dict[str, Any], at_hand: ModuleType, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once = Path("params.yaml").read_text()
    at_hand.main()
    assert Path("params.yaml").read_text() == once, "in place of those of the first time"
    said = capsys.readouterr().out.splitlines()
    assert "left out: sr3-published: is for factor 8 alone, and params.yaml has factors [4]" in said
    assert list(entered) == ["flow-compact", "flow-mode", *(name for name in NETWORKS if name != "sr3-published")]
    for name, entry in list(entered.items())[2:]:
        network = NETWORKS[name]
        assert entry == {**network["entry"], "path": entry["path"]}
        assert Path(entry["path"]).name == network["file"]
        assert Path(entry["path"]).is_relative_to(files)
    text = Path("params.yaml").read_text()
    for line in (HERE / "params.yaml").read_text().splitlines():
        assert line in text, "comments stay"


def test_the_plan_takes_every_entry(entered: dict[str, Any], astronaut: NDArray[np.uint8]) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    Path("photos").mkdir()
    for i in (0, 256):
        Image.fromarray(astronaut[i : i + 256, :256]).save(f"photos/{i}.png")
    params |= {"images": {"source": "folder", "path": "photos", "crop": 256}, "balance": {"groups": 2, "size": 2}}
    params |= {"distortions": {"psnr": {"method": "pixel"}}, "primary": None}
    params["upscalers"]["sr3"] |= {"steps": 3, "beta_start": 0.3, "beta_end": 0.9}
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    done = stage_here("plan", cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    found = {path.name for path in Path("data/plan/upscale/x4").iterdir()}
    assert found == entered.keys()


def test_three_namings_are_one_network(files: Path) -> None:
    """ESRGAN, BSRGAN, Real-ESRGAN and RSR differ in their weights alone: the same ones give the same image."""
    pytest.importorskip("spandrel")
    lr = np.random.default_rng(0).integers(0, 256, (3, 12, 9), dtype=np.uint8)
    images = []
    for network in (NETWORKS[name] for name in ("esrgan", "bsrgan", "real-esrgan", "rsr")):
        entry = {key: value for key, value in network["entry"].items() if key != "method"}
        method = find_method("upscale", network["entry"]["method"], where="here")
        parameters = validate(method.Parameters, entry | {"path": str(files / network["file"])}, where="here")
        images.append(method.load(parameters, Problem(4), "cpu").sample(lr, [Draw(0, "a", 0)]).sr[0])
    assert images[0].shape == (3, 48, 36)
    assert np.ptp(images[0]) > 50
    assert all(np.array_equal(images[0], image) for image in images[1:])


def test_small_networks_keep_the_contract(files: Path, small: ModuleType) -> None:
    for name in ("imdn/IMDN_x4.pth", "carn_m.pth"):
        check_upscaler(small, {"path": str(files / name)}, 4)
    torch.save({"fea_conv.weight": torch.zeros(64, 3, 3, 3)}, files.parent / "part.pth")
    torch.save([torch.zeros(1)], files.parent / "list.pth")
    for name, told in (("part.pth", "is neither IMDN nor CARN-M for factor 4"), ("list.pth", "something else than")):
        with pytest.raises(UserError, match=told) as error:
            small.load(small.Parameters(path=str(files.parent / name)), Problem(4), "cpu")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="factor 2: its networks are for 4 alone"):
        small.describe(small.Parameters(path="x"), 2)


@pytest.mark.parametrize("name", ["imdn/IMDN_x4.pth", "carn_m/carn_m.pth"])
def test_published_small_networks_reconstruct_far_better_than_bicubic(
    name: str, shared: Path, small: ModuleType, astronaut: NDArray[np.uint8]
) -> None:
    hr = astronaut[:256, 96:352]
    lr = Image.fromarray(hr).resize((64, 64), Image.Resampling.BICUBIC)
    net = small.load(small.Parameters(path=str(shared / "weights" / name)), Problem(4), "cpu")
    sr = net.sample(np.ascontiguousarray(np.asarray(lr).transpose(2, 0, 1)), [Draw(0, "a", 0)]).sr[0]
    plain = np.asarray(lr.resize((256, 256), Image.Resampling.BICUBIC))
    errors = [np.square(x[8:-8, 8:-8].astype(float) - hr[8:-8, 8:-8]).mean() for x in (plain, sr.transpose(1, 2, 0))]
    assert 10 * np.log10(errors[0] / errors[1]) > 2.4, "decibels: a wrong wiring gains none"


def test_marks_that_are_gone_are_a_line(at_hand: ModuleType) -> None:
    text = (HERE / "params.yaml").read_text()
    for broken in (text.replace(at_hand.END, ""), text + at_hand.BEGIN, ""):
        with pytest.raises(UserError, match=r"params\.yaml: the two marks of at_hand\.py are gone"):
            at_hand.entered(broken, {})
    assert at_hand.entered(at_hand.entered(text, {"a": {"path": "é"}}), {}) == text
