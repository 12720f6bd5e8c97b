"""What is known of each metric of pyiqa that is offered: direction, range, least size, and the files of its weights.

Of pyiqa 0.1.16, observed from outside: what it is given, which files it looks for, and what its networks see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "Metric"]

ENLARGED = "pyiqa enlarges smaller ones without saying so"
SINGLE_PATCH = "of a single patch pyiqa takes the covariance for 0"
FEW_PATCHES = "few patches, and the fewer, the higher the score"
TRUNK = "the network's trunk was trained on images of that size"
FEATURES = "features leave the range of those that the machine was trained on"
CLIP = "clip/RN50.pt"


@dataclass(frozen=True)
class Metric:
    """A metric of pyiqa.

    Attributes
    ----------
    label : str
        Name in tables, and what its weights are.
    model : str
        What its weights were made of; empty: it has none.
    better : str
        ``lower`` or ``higher``.
    low, high : float or None
        Range; None: unbounded. Networks end in a linear layer, whatever pyiqa says of their usual values.
    least, least_why : int, str
        Smaller images are refused: least side in pixels, and the reason.
    trusted, trusted_why : int, str
        Scores of smaller images are marked.
    files : tuple of str
        Weights below torch's hub folder; of these the first is what `path` takes the place of.
    path : bool
        Whether pyiqa takes a file of the user's.
    hub : str
        Repository in the cache of Hugging Face that timm takes the trunk from; empty: none.
    needs : tuple of str
        Modules that pyiqa imports for it alone, and without which it says that there is no such metric.
    """

    label: str
    model: str
    better: Literal["lower", "higher"]
    low: float | None
    high: float | None
    least: int
    least_why: str
    trusted: int
    trusted_why: str = ""
    files: tuple[str, ...] = ()
    path: bool = False
    hub: str = ""
    needs: tuple[str, ...] = ()


def _niqe(model: str, file: str) -> Metric:
    return Metric(
        "NIQE", model, "lower", 0.0, None, 192, SINGLE_PATCH, 480, FEW_PATCHES, (f"pyiqa/{file}",), True
    )  # fmt: skip


def _brisque(model: str, file: str) -> Metric:
    return Metric("BRISQUE", model, "lower", None, None, 96, FEATURES, 96, "", (f"pyiqa/{file}",), True)


def _maniqa(model: str, file: str) -> Metric:
    return Metric(
        "MANIQA", model, "higher", 0.0, None, 225, ENLARGED, 225, "", (f"pyiqa/{file}",), True,
        "timm/vit_base_patch8_224.augreg2_in21k_ft_in1k", ("timm",),
    )  # fmt: skip


METRICS = {
    "maniqa": _maniqa("KonIQ-10k", "ckpt_koniq10k.pt"),
    "maniqa-pipal": _maniqa("PIPAL", "MANIQA_PIPAL-ae6d356b.pth"),
    "maniqa-kadid": _maniqa("KADID-10k", "ckpt_kadid10k.pt"),
    # Beside the image itself, its network sees it brought to 224 and to 384 pixels, whatever its size.
    "musiq": Metric(
        "MUSIQ", "KonIQ-10k", "higher", None, None, 384, ENLARGED, 384, "",
        ("pyiqa/musiq_koniq_ckpt-e95806b9.pth",), True,
    ),
    "topiq_nr": Metric(
        "TOPIQ-NR", "KonIQ-10k", "higher", None, None, 32, "its trunk halves it five times", 224, TRUNK,
        ("pyiqa/cfanet_nr_koniq_res50-9a73138b.pth",), True, "timm/resnet50.a1_in1k", ("timm", "facexlib"),
    ),
    "clipiqa": Metric(
        "CLIP-IQA", "CLIP RN50", "higher", 0.0, 1.0, 224, TRUNK, 224, "", (CLIP,), needs=("clip", "pkg_resources"),
    ),
    "qualiclip": Metric(
        "QualiCLIP", "CLIP RN50", "higher", 0.0, 1.0, 224, TRUNK, 224, "", (CLIP, "pyiqa/QualiCLIP.pth"),
        needs=("clip", "pkg_resources"),
    ),
    "niqe": _niqe("released model", "niqe_modelparameters.mat"),
    "niqe_matlab": _niqe("MATLAB's model", "niqe_matlab_params.mat"),
    # By its definition every image is brought to 524 x 524 pixels.
    "ilniqe": Metric(
        "IL-NIQE", "released model", "lower", 0.0, None, 1, "it is empty", 524,
        "IL-NIQE enlarges smaller ones, by its definition", ("pyiqa/ILNIQE_templateModel.mat",), True,
    ),
    "brisque": _brisque("released machine", "brisque_svm_weights.pth"),
    "brisque_matlab": _brisque("MATLAB's machine", "brisque_matlab.mat"),
    "piqe": Metric("PIQE", "", "lower", 0.0, 100.0, 16, "it is of blocks of 16 pixels", 16),
}  # fmt: skip
