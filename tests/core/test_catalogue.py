"""The catalogue of weights is what lies beside the methods; checkpoints that hold more than one network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ida_rd.core import weights
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.weights import catalogue, load_tensors

SHA = "0123456789abcdef" * 4
ENTRY = f'["{{}}"]\nsha256 = ["{SHA}"]\nlicence = "CC0"\ncitation = "nobody"\n'
# Of published files that nobody here has seen: they are never downloaded.
UNKNOWN = {f"resshift.{name}" for name in ("autoencoder", "bicsr", "v1", "v2", "v3")} | {"diffbir.bsrnet"}
URL = 'url = "https://127.0.0.1/other.pth"\n'


def test_every_method_brings_its_weights() -> None:
    found = catalogue()
    assert set(found) == {
        "diffbir.bsrnet", "diffbir.general_full_v1", "diffbir.general_swinir_v1", "diffbir.sd2_1",
        "diffbir.sd2_1_zsnr", "diffbir.swinir_v2_1", "diffbir.v2", "diffbir.v2_1",
        "diffusion-compact.x4", "diffusion-compact.x8", "firn-plus.x4", "firn.x4",
        "flow-compact.x2", "flow-compact.x4", "flow-compact.x8",
        "irn-plus.x4", "irn-sigma.x4", "irn.x2", "irn.x4", "irn.x8",
        "brisque.model", "brisque.range", "dists.channels", "ldm.unet", "ldm.vqvae", "niqe.pristine", "niqe.released",
        "resshift.autoencoder", "resshift.bicsr", "resshift.v1", "resshift.v2", "resshift.v3",
        "sr3.ffhq_16_128", "sr3.ffhq_64_512", "srflow.celeba_x8", "srflow.df2k_x4", "srflow.df2k_x8",
        "st-lpips.alex", "st-lpips.vgg", "stablesr.768v", "stablesr.base", "stablesr.cfw", "stablesr.turbo",
        "stylegan.mapping", "stylegan.synthesis", "torchvision.alexnet", "torchvision.squeezenet1_1",
        "torchvision.vgg16", "torchvision.vgg19",
    }  # fmt: skip
    for key, weight in found.items():
        assert weight.id == key
        assert sum(source is not None for source in (weight.file, weight.url, weight.archive, weight.package)) == 1
        assert weight.file is None or weight.sha256 == (sha256_file(weight.file),)
        if weight.url is None or key in UNKNOWN:
            continue
        assert weight.sha256, "what is downloaded is known"
        assert weight.sha256[0].startswith(Path(weight.url).stem.rpartition("-")[2])
    found.clear()
    assert catalogue()


def test_weights_lie_in_the_folder_of_their_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "upscale" / "mine"
    room.mkdir(parents=True)
    (room / "weights.toml").write_text(ENTRY.format("mine.x4") + 'file = "nets/x4.pth"\n')
    (tmp_path / "other.toml").write_text(ENTRY.format("other") + URL)
    monkeypatch.setattr(weights, "PACKAGE", tmp_path)
    found = catalogue()
    assert sorted(found) == ["mine.x4", "other"]
    assert found["mine.x4"].file == room / "nets" / "x4.pth"
    assert found["other"].accepts(SHA)
    assert not found["other"].accepts(SHA[:-1] + "0")
    assert not found["other"].accepts(SHA[:8])
    assert not weights.Weight("w", "", "", sha256=(SHA[:8],)).accepts(SHA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.format("b") + URL.replace("https", "http"), "two.toml: weights b: url 'http://.*' does not begin with"),
        (ENTRY.format("b") + URL.replace("url", "archive").replace("https", "http"), "weights b: archive 'http://"),
        (ENTRY.format("b").replace(SHA, SHA[:8]) + URL, "weights b: sha256 '01234567' is not a whole hash"),
        (ENTRY.format("b").replace(SHA, SHA.upper()) + URL, "weights b: sha256 '0123.*' is not a whole hash"),
        (ENTRY.format("b") + URL + 'file = "a"\n', "weights b: give one of file, url, archive and package"),
        (ENTRY.format("b"), "weights b: give one of file, url, archive and package"),
        (ENTRY.format("b") + URL + "size = 0\n", "weights b: size 0 is not a number of bytes"),
        ("b = 1\n", "two.toml: weights b: "),
        ("a = " + "[" * 100_000, "two.toml: not valid TOML"),
        (ENTRY.format("a") + ENTRY.format("a"), "two.toml: not valid TOML"),
        (ENTRY.format("one"), "two.toml: the weights one are also in .*one.toml"),
        (ENTRY.format("b") + "sze = 1\n", "two.toml: weights b: got an unexpected keyword argument 'sze'"),
        ('["c"]\nlicence = ""\ncitation = ""\n', "two.toml: weights c: 'sha256' is missing"),
        ('["d"]\nsha256 = []\nlicence = ""\n', "two.toml: weights d: missing .*'citation'"),
    ],
)
def test_a_mistake_in_a_list_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    (tmp_path / "one.toml").write_text(ENTRY.format("one") + URL)
    (tmp_path / "two.toml").write_text(text)
    monkeypatch.setattr(weights, "PACKAGE", tmp_path)
    with pytest.raises(UserError, match=message) as error:
        catalogue()
    assert "\n" not in str(error.value)


def test_a_network_is_taken_out_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"params": {"a": torch.zeros(1)}, "params_ema": {"a": torch.ones(1)}}, path)
    assert load_tensors(path, "params_ema")["a"] == 1
    assert load_tensors(path, "params")["a"] == 0
    with pytest.raises(UserError, match=r"net\.pth: its tensors are in params, params_ema: choose one"):
        load_tensors(path)
    with pytest.raises(UserError, match=r"called 'params_em'; did you mean 'params_ema'"):
        load_tensors(path, "params_em")
    torch.save({"net": {"a": torch.ones(2)}, "step": 3, "optimiser": {"state": {}, "rate": 0.1}}, path)
    assert load_tensors(path, "net")["a"].shape == (2,)
    with pytest.raises(UserError, match="its tensors are in net: choose"):
        load_tensors(path)
    with pytest.raises(UserError, match="no dictionary of tensors called 'optimiser'"):
        load_tensors(path, "optimiser")


def test_a_plain_file_has_no_networks_to_choose_from(tmp_path: Path) -> None:
    for name in ("plain.pth", "plain.safetensors"):
        path = tmp_path / name
        tensors = {"a": torch.ones(3)}
        torch.save(tensors, path) if path.suffix == ".pth" else save_file(tensors, path)
        assert load_tensors(path)["a"].shape == (3,)
        with pytest.raises(UserError, match=f"{name}: holds no dictionary of tensors called 'a'; none are known"):
            load_tensors(path, "a")
    torch.save({"a": 1}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="expected a dictionary of tensors"):
        load_tensors(tmp_path / "other.pth")
