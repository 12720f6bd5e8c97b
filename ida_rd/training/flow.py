"""Train the flow: ``python -m ida_rd.training.flow --images DIR --validation DIR --out DIR``.

Two stages: the encoder and the mean head by L1 loss; then all weights by negative log-likelihood,
after a data-dependent initialisation of the actnorms, and where asked by the energy score of two samples
of each patch besides. Every step's patches and noise are a function
of (seed, step), and the state is checkpointed: a killed run goes on where it was by the same command.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ida_rd.core.errors import UserError, did_you_mean, exit_with_line
from ida_rd.core.files import atomic_path, sha256_file, write_json
from ida_rd.core.seeds import generator
from ida_rd.models.flow import FlowConfig, FlowNet, bits_per_dimension
from ida_rd.training.losses import LEAST_SIDE, OrientedFeatures, energy_score
from ida_rd.training.patches import FILTERS, PatchSource, training_files
from ida_rd.upscale.flow.sampler import load_network

__all__ = ["TrainConfig", "train", "validation_bits"]

# What `--network` can name. `x4-larger`, grown from `x4` by `x4-large`, and `x8` ship; the others are for ablations.
NETWORKS = {
    "x4": FlowConfig(4, steps=(6, 8), hidden=(32, 64)),
    "x8": FlowConfig(8, steps=(4, 6, 8), hidden=(24, 48, 64)),
    "x4-unbounded": FlowConfig(4, steps=(6, 8), hidden=(32, 64), bounded=False),
    "x4-deep-encoder": FlowConfig(4, encoder_blocks=16, steps=(6, 8), hidden=(32, 64)),
    "x4-more-steps": FlowConfig(4, steps=(10, 12), hidden=(32, 64)),
    "x4-large": FlowConfig(4, encoder_blocks=16, steps=(8, 12), hidden=(32, 64)),
    "x4-larger": FlowConfig(4, encoder_blocks=24, steps=(8, 12), hidden=(32, 64)),
}
PRECISIONS = ("float32", "bfloat16")


def _option(default: Any, explanation: str) -> Any:
    return field(default=default, metadata={"help": explanation})


@dataclass(frozen=True)
class TrainConfig:
    """What decides the trained weights (with the images and the library versions); `--help` explains each."""

    network: str = _option("x4", f"size of the network: {', '.join(NETWORKS)}")
    seed: int = _option(0, "of the first weights, the patches and the noise")
    precision: str = _option(
        "float32", "float32, or bfloat16 for the convolutions: 1.5 times as fast where it is native"
    )
    patch: int = _option(80, "side of the HR patches, pixels")
    l1_steps: int = _option(2000, "steps of the first stage: encoder and mean, by L1 loss")
    l1_batch: int = _option(8, "patches a step there")
    l1_rate: float = _option(8e-4, "Adam's learning rate there at first, a tenth of it at last")
    nll_steps: int = _option(9000, "steps of the second stage: all weights, by negative log-likelihood")
    nll_batch: int = _option(8, "patches a step there")
    nll_rate: float = _option(7e-4, "learning rate there after the warm-up")
    nll_final_rate: float = _option(1.4e-5, "learning rate there at last, by half a cosine")
    warmup_steps: int = _option(300, "steps there over which the learning rate rises")
    energy: float = _option(
        0.0, "weight of the energy score of two samples a patch, beside bits per dimension; 0: none"
    )
    clip_norm: float = _option(1.0, "largest norm of the gradient")
    ema: float = _option(0.999, "decay of the averaged weights, which are the ones exported")
    jpeg: float = _option(0.75, "share of patches that go through a JPEG file")
    candidates: int = _option(2, "crops drawn a patch, of which the most detailed is taken")
    filters: str = _option("bicubic", f"what makes the LR images, one drawn a patch: {', '.join(FILTERS)}")
    scales: str = _option("1", "photographs are also shown reduced by these factors, as in 1,2")
    sharpen: float = _option(0.0, "share of patches that are sharpened")

    def check(self) -> None:
        """Raise UserError where an option names what does not exist."""
        if self.network not in NETWORKS:
            raise UserError(f"--network {self.network}: {did_you_mean(self.network, NETWORKS)}")
        if self.precision not in PRECISIONS:
            raise UserError(f"--precision {self.precision}: {did_you_mean(self.precision, PRECISIONS)}")
        if self.energy < 0:
            raise UserError(f"--energy {self.energy}: a weight is 0 or more")
        if self.energy and self.patch < LEAST_SIDE:
            raise UserError(f"--patch {self.patch}: the energy score needs patches of {LEAST_SIDE} pixels or more")


def _cosine(step: int, steps: int, first: float, last: float) -> float:
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * min(step / steps, 1.0)))


def _images(hr: np.ndarray, lr: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    def to(x: np.ndarray) -> Tensor:
        return (torch.from_numpy(x).to(device).float() / 255).contiguous(memory_format=torch.channels_last)

    return to(hr), to(lr)


@torch.no_grad()
def validation_bits(net: FlowNet, folder: Path, crop: int | None = 160, count: int = 50) -> float:
    """Mean bits per dimension over the first `count` images of `folder`, whole or their centre crops of a side.

    Bits fall with the size of the crop, since what lies beyond its border is not known to the network:
    figures of different crops say nothing about each other.
    """
    factor = net.config.factor
    device = next(net.parameters()).device
    total = 0.0
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"})[:count]
    if not files:
        raise UserError(f"validation images: {folder} holds no .jpg or .png file")
    for path in files:
        image = np.asarray(Image.open(path).convert("RGB"))
        height, width = (crop or side // factor * factor for side in image.shape[:2])
        y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        patch = np.ascontiguousarray(image[y : y + height, x : x + width])
        size = (width // factor, height // factor)
        small = np.array(Image.fromarray(patch).resize(size, Image.Resampling.BICUBIC))
        hr, lr = _images(patch.transpose(2, 0, 1)[None].copy(), small.transpose(2, 0, 1)[None].copy(), device)
        noise = generator("validation", path.name).random(hr.shape, dtype=np.float32) - 0.5
        z, logdet = net.encode(hr + torch.from_numpy(noise).to(device) / 255, net.condition(lr))
        total += float(bits_per_dimension(z, logdet))
    return total / len(files)


def _network(config: TrainConfig, device: torch.device) -> FlowNet:
    return FlowNet(NETWORKS[config.network]).to(device).to(memory_format=torch.channels_last)


class _State:
    """Network, moving average and optimiser, and their checkpoint."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.net = _network(config, device)
        self.ema = _network(config, device).requires_grad_(False)
        self.ema.load_state_dict(self.net.state_dict())
        self.features = OrientedFeatures().to(device)
        self.optimiser = torch.optim.Adam(self.net.parameters(), betas=(0.9, 0.99))
        self.stage, self.step, self.skipped, self.seconds = "l1", 0, 0, 0.0

    def save(self, path: Path, config: TrainConfig) -> None:
        state = {
            "config": asdict(config),
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "stage": self.stage,
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path, config: TrainConfig) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["config"] != asdict(config):
            changed = [k for k, v in asdict(config).items() if state["config"].get(k) != v]
            raise UserError(
                f"{path} is of a run with other settings ({', '.join(changed)}): give another --out, or remove it"
            )
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.stage, self.step = state["stage"], state["step"]
        self.skipped, self.seconds = state["skipped"], state["seconds"]
        if self.step:
            self.optimiser.load_state_dict(state["optimiser"])

    def begin_from(self, weights: Path, config: TrainConfig) -> None:
        try:
            self.net.grow_from(load_network(weights))
        except ValueError as error:
            raise UserError(
                f"{weights} cannot begin a network {config.network}: {error}; leave --initial out"
            ) from None
        self.ema.load_state_dict(self.net.state_dict())
        self.stage = "nll"

    @torch.no_grad()
    def average(self, decay: float) -> None:
        # A short memory at first, so that the average does not remember the initial weights.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.net.parameters()), 1 - decay)


def train(
    config: TrainConfig,
    images: Path,
    validation: Path,
    out: Path,
    *,
    exclude_licence: str = "",
    log_every: int = 50,
    save_every: int = 200,
    initial: Path | None = None,
) -> Path:
    """Train and return the path of the trained state, ``out/checkpoint.pt``; resume where it exists.

    `initial` is a weight file to go on from: the L1 stage and the initialisation are left out then. The log
    has a line, and the checkpoint is written, every so many steps of a stage.
    """
    config.check()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kept = training_files(images, exclude_licence)
    source = PatchSource(
        [path for path, _ in kept],
        NETWORKS[config.network].factor,
        config.patch,
        config.seed,
        jpeg=config.jpeg,
        candidates=config.candidates,
        filters=config.filters.split(","),
        scales=[float(scale) for scale in config.scales.split(",")],
        sharpen=config.sharpen,
    )
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "config": asdict(config),
        "images": [{"file": path.name, **row} for path, row in kept],
        "commit": _commit(),
        "torch": torch.__version__,
        "device": device.type,
        "initial": sha256_file(initial) if initial else None,
    }
    write_json(out / "training.json", record)
    checkpoint = out / "checkpoint.pt"
    state = _State(config, device)
    if checkpoint.exists():
        state.load(checkpoint, config)
    elif initial:
        state.begin_from(initial, config)
    # A termination request saves the state at the next step; a SIGKILL loses what is newer than the checkpoint.
    stop: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    log = (out / "log.jsonl").open("a", encoding="utf-8")
    total = config.l1_steps + config.nll_steps
    done = state.step + (config.l1_steps if state.stage == "nll" else 0)  # of --initial too: nothing left to do there
    bar = tqdm(total=total, initial=done, unit="step", disable=None)
    started = time.perf_counter()
    try:
        while not stop and not (state.stage == "nll" and state.step >= config.nll_steps):
            if state.stage == "l1" and state.step >= config.l1_steps:
                _begin_nll(state, config, source, device)
            entry = (
                _step_l1(state, config, source, device)
                if state.stage == "l1"
                else _step_nll(state, config, source, device)
            )
            state.step += 1
            bar.update()
            now = time.perf_counter()
            state.seconds, started = state.seconds + now - started, now
            if state.step % log_every == 0:
                print(canonical_line(state, entry), file=log, flush=True)
            if state.step % save_every == 0:
                state.save(checkpoint, config)
            if state.stage == "nll" and (state.step % 1000 == 0 or state.step == config.nll_steps):
                state.ema.eval()
                bits = validation_bits(state.ema, validation)
                print(canonical_line(state, {"validation_bits": bits}), file=log, flush=True)
                tqdm.write(f"nll step {state.step}: validation {bits:.4f} bits/dim", file=sys.stderr)
                started = time.perf_counter()
        state.save(checkpoint, config)
    finally:
        log.close()
        bar.close()
        signal.signal(signal.SIGTERM, previous)
    if stop:
        raise UserError(f"stopped at {state.stage} step {state.step}; the same command goes on from {checkpoint}")
    return checkpoint


def canonical_line(state: _State, entry: dict[str, float]) -> str:
    """One JSON line of the training log."""
    head = {"stage": state.stage, "step": state.step, "skipped": state.skipped, "seconds": round(state.seconds, 1)}
    return json.dumps(head | entry)


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _apply(state: _State, loss: Tensor, rate: float, config: TrainConfig) -> float:
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(state.net.parameters(), config.clip_norm))
    if math.isfinite(norm):
        state.optimiser.step()
    else:
        state.skipped += 1
    state.average(config.ema)
    return norm


def _autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16")


def _step_l1(state: _State, config: TrainConfig, source: PatchSource, device: torch.device) -> dict[str, float]:
    hr, lr = _images(*source.batch("l1", state.step, config.l1_batch), device)
    with _autocast(config, device):
        loss = (state.net.predict_mean(lr) - hr).abs().mean()
    rate = _cosine(state.step, config.l1_steps, config.l1_rate, 0.1 * config.l1_rate)
    norm = _apply(state, loss, rate, config)
    return {"l1": loss.item(), "norm": norm, "rate": rate}


def _begin_nll(state: _State, config: TrainConfig, source: PatchSource, device: torch.device) -> None:
    # Start from the averaged L1 weights, and set the actnorms from a larger batch of real data.
    state.net.load_state_dict(state.ema.state_dict())
    hr, lr = _images(*source.batch("initialise", 0, 4 * config.nll_batch), device)
    with torch.no_grad():
        state.net.encode(hr, state.net.condition(lr), initialise=True)
    state.ema.load_state_dict(state.net.state_dict())
    state.optimiser = torch.optim.Adam(state.net.parameters(), betas=(0.9, 0.99))
    state.stage, state.step = "nll", 0


def _step_nll(state: _State, config: TrainConfig, source: PatchSource, device: torch.device) -> dict[str, float]:
    hr, lr = _images(*source.batch("nll", state.step, config.nll_batch), device)
    noise = generator("dequantise", config.seed, state.step).random(tuple(hr.shape), dtype=np.float32) - 0.5
    hr = hr + torch.from_numpy(noise).to(device) / 255
    with _autocast(config, device):
        given = state.net.condition(lr)
        z, logdet = state.net.encode(hr, given)
        samples = (
            [state.net.decode(_latent(config, state.step, k, z), given) for k in range(2)] if config.energy else []
        )
    loss = bits = bits_per_dimension(z, logdet).mean()
    entry = {"bits": bits.item()}
    if samples:
        score = energy_score(state.features, hr, *samples).mean()
        loss, entry["energy"] = bits + config.energy * score, score.item()
    warm = min(1.0, (state.step + 1) / config.warmup_steps)
    rate = warm * _cosine(state.step, config.nll_steps, config.nll_rate, config.nll_final_rate)
    norm = _apply(state, loss, rate, config)
    return entry | {"norm": norm, "rate": rate}


def _latent(config: TrainConfig, step: int, sample: int, like: Tensor) -> Tensor:
    normal = generator("samples", config.seed, step, sample).standard_normal(tuple(like.shape), dtype=np.float32)
    return torch.from_numpy(normal).to(like.device)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ida_rd.training.flow", description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of training photographs")
    parser.add_argument("--validation", type=Path, required=True, help="folder of images that training never sees")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and the log")
    parser.add_argument("--exclude-licence", default="", metavar="TEXT", help="leave out LICENSES.csv rows so begun")
    parser.add_argument(
        "--initial", type=Path, metavar="FILE", help="weights to go on from, of this or a smaller network; no L1"
    )
    parser.add_argument("--log-every", type=int, default=50, metavar="STEPS", help="steps a line of log.jsonl")
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS", help="steps a checkpoint")
    for option in fields(TrainConfig):
        text = f"{option.metadata['help']} (default: {option.default})"
        parser.add_argument(
            f"--{option.name.replace('_', '-')}", type=type(option.default), default=option.default, help=text
        )
    arguments = vars(parser.parse_args())
    config = TrainConfig(**{option.name: arguments[option.name] for option in fields(TrainConfig)})
    train(
        config,
        arguments["images"],
        arguments["validation"],
        arguments["out"],
        exclude_licence=arguments["exclude_licence"],
        log_every=arguments["log_every"],
        save_every=arguments["save_every"],
        initial=arguments["initial"],
    )


if __name__ == "__main__":
    exit_with_line(main)
