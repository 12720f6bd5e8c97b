"""MANIQA, MUSIQ, TOPIQ, CLIP-IQA and others, as the package ``pyiqa`` has them: *non-commercial*, an extra of its own.

``pip install 'ida-rd[pyiqa]'``: the package is under PolyForm Noncommercial 1.0.0, its store of weights under CC
BY-NC-SA 4.0. Nothing of it ships with this project, which downloads nothing for it either: the package verifies no hash
of what it fetches.

The package gives a number for nearly every image. MANIQA's and MUSIQ's of a small one are of its enlargement, and
NIQE's of a single patch rests on no covariance, with no sign of either. So the least sizes are this project's, and
smaller images are refused.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import urllib.error
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import reason
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.software import MissingSoftware
from ida_rd.core.weights import MissingWeights, torch_cache
from ida_rd.engine.device import device_name
from ida_rd.quality.contract import Descriptor, Score, Undefined
from ida_rd.quality.pyiqa.metrics import METRICS, Metric

__all__ = ["TERMS", "Parameters", "Pyiqa", "describe", "load", "missing_weights", "packages", "told"]

HARMLESS = ()  # files of pyiqa are read by pyiqa
TERMS = "non-commercial: PolyForm Noncommercial 1.0.0, weights CC BY-NC-SA 4.0"
INSTALL = f"pip install 'ida-rd[pyiqa]' ({TERMS})"
# Whatever pyiqa was loaded for: no network is asked, and a file that holds more than tensors is not run.
CAREFUL = {"HF_HUB_OFFLINE": "1", "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}
TRUNKS = ("model.safetensors", "pytorch_model.bin")  # what timm looks for, in this order
ADDRESS = re.compile(r'Downloading: "([^"]+)" to (\S+)')
OFFLINE = ("LocalEntryNotFoundError", "OfflineModeIsEnabled")  # huggingface_hub's, which need not be here
LACKING = "No object named"


class Parameters(Base):
    """Which metric, and its weights."""

    metric: Literal[
        "maniqa",
        "maniqa-pipal",
        "maniqa-kadid",
        "musiq",
        "topiq_nr",
        "clipiqa",
        "qualiclip",
        "niqe",
        "niqe_matlab",
        "ilniqe",
        "brisque",
        "brisque_matlab",
        "piqe",
    ] = Field(default="maniqa", description="pyiqa's name of it; package and weights are for non-commercial use")
    path: str | None = Field(
        default=None,
        min_length=1,
        description="a file of weights of yours, of those metrics that can take one; null: where pyiqa keeps its own",
    )

    @model_validator(mode="after")
    def _takes_a_path(self) -> Self:
        if self.path is not None and not METRICS[self.metric].path:
            able = ", ".join(name for name, metric in METRICS.items() if metric.path)
            raise ValueError(f"path: pyiqa takes no file for {self.metric}, but for {able}: remove the key")
        return self


def packages(parameters: Parameters) -> dict[str, str]:
    """Modules that may be missing, and how to get them; without some, pyiqa says that there is no such metric."""
    return dict.fromkeys(("pyiqa", *METRICS[parameters.metric].needs), INSTALL)


def describe(parameters: Parameters) -> Descriptor:
    """Describe the metric: pyiqa is not imported."""
    metric = METRICS[parameters.metric]
    model = metric.model if parameters.path is None else "weights of a file"
    return Descriptor(
        better=metric.better,
        low=metric.low,
        high=metric.high,
        minimum_side=metric.least,
        trusted_side=metric.trusted,
        label=f"{metric.label} ({f'{model}, ' if model else ''}by pyiqa: non-commercial)",
        facts={"side": "smaller side of the image, in pixels"},
    )


def load(parameters: Parameters) -> Pyiqa:
    """Load the metric onto the device.

    Raises
    ------
    MissingSoftware
        pyiqa, or a package that it needs for this metric, is not installed.
    MissingWeights
        A file of its weights is not here: nothing is downloaded.
    UserError
        A file that it cannot read.
    """
    for module, install in packages(parameters).items():
        if find_spec(module) is None:
            raise MissingSoftware(f"the package {module} is not installed: {install}")
    given = None if parameters.path is None else Path(parameters.path).expanduser()
    if given is not None and not given.is_file():
        raise UserError(f"path: {given} does not exist: give a file of weights of pyiqa's {parameters.metric}")
    options = {} if given is None else {"pretrained_model_path": str(given)}
    said = io.StringIO()
    try:
        with _careful(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            if lacking := missing_weights(parameters):
                raise _missing(parameters.metric, lacking)
            import pyiqa

            network = pyiqa.create_metric(parameters.metric, device=device_name(), **options)
    except Exception as error:
        raise told(error, parameters, said.getvalue()) from None
    return Pyiqa(parameters.metric, network)


@contextlib.contextmanager
def _careful() -> Iterator[None]:
    before = {key: os.environ.get(key) for key in CAREFUL}
    os.environ.update(CAREFUL)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def missing_weights(parameters: Parameters) -> list[str]:
    """The files of a metric's weights that are not here: each with the folder that it goes into."""
    metric = METRICS[parameters.metric]
    files = metric.files if parameters.path is None else metric.files[1:]
    hub = torch_cache().parent
    lacking = [f"{(hub / file).name} in {(hub / file).parent}" for file in files if not (hub / file).is_file()]
    if metric.hub and find_spec("huggingface_hub") is not None:
        from huggingface_hub import constants, try_to_load_from_cache

        if not any(isinstance(try_to_load_from_cache(metric.hub, file), str) for file in TRUNKS):
            lacking.insert(0, f"{metric.hub} in {constants.HF_HUB_CACHE}")
    return lacking


def _missing(name: str, lacking: list[str]) -> MissingWeights:
    fetch = f"python -c \"import pyiqa; pyiqa.create_metric('{name}')\""
    return MissingWeights(
        f"weights of pyiqa's {name} are not here ({'; '.join(lacking)}): if their terms allow your use ({TERMS}), let"
        f" pyiqa fetch them, which verifies no hash: {fetch}"
    )


def told(error: Exception, parameters: Parameters, said: str = "") -> UserError:
    """What pyiqa's failure to load a metric means, in one line: the package or the weights that are missing.

    Parameters
    ----------
    error : Exception
    parameters : Parameters
    said : str
        What it printed until then, which has the address of what it wanted to download.
    """
    name, metric = parameters.metric, METRICS[parameters.metric]
    if isinstance(error, UserError):
        return error
    if isinstance(error, urllib.error.URLError | ConnectionError) or type(error).__name__ in OFFLINE:
        if wanted := ADDRESS.findall(said):
            return _missing(name, [f"{address} in {Path(target).parent}" for address, target in wanted[-1:]])
        return _missing(name, missing_weights(parameters) or [*metric.files, *filter(None, [metric.hub])])
    if isinstance(error, ImportError):
        return MissingSoftware(f"pyiqa's {name} cannot be imported ({reason(error)}): {INSTALL}")
    if isinstance(error, KeyError) and LACKING in str(error):
        lacking = " or ".join(metric.needs) or "a package"
        return MissingSoftware(
            f"pyiqa does not have its {name} ({reason(error)}): {lacking}, which it needs, cannot be imported:"
            f" {INSTALL}"
        )
    if type(error).__name__ == "UnpicklingError":
        error = ValueError("it holds more than tensors, or is none of torch's")
    if parameters.path is not None:
        return UserError(
            f"{parameters.path}: pyiqa cannot read it as weights of {name} ({reason(error)}): correct path"
        )
    return UserError(
        f"pyiqa cannot load its {name} ({reason(error)}): remove broken files ({', '.join(metric.files) or 'none'} in"
        f" {torch_cache().parent}), or install the version that is known here: {INSTALL}"
    )


class Pyiqa:
    """A loaded metric of pyiqa's; see `ida_rd.quality.contract.Measure`."""

    def __init__(self, name: str, network: Any) -> None:
        self.name, self.network = name, network

    @property
    def metric(self) -> Metric:
        """What is known of it."""
        return METRICS[self.name]

    def score(self, image: NDArray[np.uint8]) -> Score:
        """Measure an image (H, W, 3), uint8."""
        metric = self.metric
        height, width = image.shape[:2]
        side = min(height, width)
        if side < metric.least:
            raise Undefined(
                f"{metric.label} needs {metric.least} pixels a side; this image has {width} x {height}"
                f" ({metric.least_why})"
            )
        value = self._value(image)
        if not math.isfinite(value):
            raise Undefined(f"pyiqa's {self.name} of this image is {value}")
        small = f"smaller than {metric.trusted} pixels: {metric.trusted_why}"
        return Score(value, {"side": side}, (small,) if side < metric.trusted else ())

    def _value(self, image: NDArray[np.uint8]) -> float:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
        try:
            with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()):
                return float(self.network(tensor.to(device_name())))
        except Exception as error:
            height, width = image.shape[:2]
            raise UserError(
                f"pyiqa's {self.name} fails on an image of {width} x {height} pixels ({reason(error)})"
            ) from None
