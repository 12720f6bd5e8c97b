"""Age, gender and ethnicity of faces by DeepFace's networks, on torch; extra ``deepface``.

The numbers are those of ``DeepFace.analyze`` (see the tests), which takes one image at a time where this takes four.
The networks are found in ``DEEPFACE_HOME`` (your home folder if it is not set), below ``.deepface/weights``, or
downloaded there by DeepFace, about 540 MB each. DeepFace is under the MIT licence; its networks were trained from
VGG-Face, whose terms they inherit. Their answers are a classifier's opinions. Children are read as adults [1]_, so
take the age from elsewhere where you can.

Which bytes are trusted: those of the package itself. Its networks (``.pth``) are first read by the project's own
reader, which takes plain tensors alone and compares them with the recipe, and then by DeepFace. The detectors' files
(``.xml``, ``.onnx``) are hashed, and decoded by OpenCV alone: use ``skip`` rather than those of a stranger.
Only https addresses are downloaded from; the hash of what they give is not known beforehand, and is in the recipe.

References
----------
.. [1] Liang et al., "Deep generative model based rate-distortion for image downscaling assessment", CVPR 2024,
       supplement, section 4.
.. [2] Serengil, Ozpinar, "Boosted LightFace: a hybrid DNN and GBM model for boosted facial recognition", Gazi
       University Journal of Science 39, 2026 (as the library asks to be cited).
"""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.download import SCHEMES
from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.weights import MissingWeights, read_file
from ida_rd.engine.device import device_name

__all__ = ["BATCH", "TERMS", "USES_TORCH", "Parameters", "measure", "names", "packages", "weights"]

HARMLESS = ("detector",)
TERMS = "MIT; its networks inherit the terms of VGG-Face: non-commercial, as their maintainer reads them"
BATCH = 4  # images at a time
USES_TORCH = True
ETHNICITIES = ("asian", "indian", "black", "white", "middle eastern", "latino hispanic")
GENDERS = ("female", "male")  # the library's Woman and Man, as the other sources call them

# Attribute: the library's name of its network, its module, its file.
NETWORKS = {
    "age": ("Age", "deepface.models.demography.pytorch.Age", "age_model_weights.pth"),
    "gender": ("Gender", "deepface.models.demography.pytorch.Gender", "gender_model_weights.pth"),
    "ethnicity": ("Race", "deepface.models.demography.pytorch.Race", "race_model_single_batch.pth"),
}
# Detector: where the library says its address, and its files.
DETECTORS = {
    "skip": (),
    "opencv": (
        ("deepface.models.face_detection.OpenCv", "HAARCASCADE_URL", "haarcascade_frontalface_default.xml"),
        ("deepface.models.face_detection.OpenCv", "HAARCASCADE_URL", "haarcascade_eye.xml"),
    ),
    "retinaface": (("retinaface.model.retinaface_pth_model", "WEIGHTS_URLS", "retinaface.pth"),),
    "yunet": (("deepface.models.face_detection.YuNet", "WEIGHTS_URL", "face_detection_yunet_2023mar.onnx"),),
    "centerface": (("deepface.models.face_detection.CenterFace", "WEIGHTS_URL", "centerface.onnx"),),
}


class Parameters(Base):
    """Parameters of `measure`."""

    detector: Literal["skip", "opencv", "retinaface", "yunet", "centerface"] = Field(
        default="skip", description="how the face is found; skip takes the whole image: right for aligned faces (FFHQ)"
    )


def names(parameters: Parameters) -> tuple[str, ...]:
    """What this source provides; ``faces`` is how many were found."""
    return (*NETWORKS, *(() if parameters.detector == "skip" else ("faces",)))


def packages(parameters: Parameters) -> dict[str, str]:
    """Packages whose versions decide the result, and how to install them."""
    install = "pip install -e '.[deepface]' (in this repository)"
    return {"deepface": install, "cv2": install}


def _networks(wanted: list[str] | None) -> list[str]:
    return [name for name in NETWORKS if wanted is None or name in wanted]


def _folder() -> Path:
    return Path(os.environ.get("DEEPFACE_HOME") or Path.home()) / ".deepface" / "weights"


def _import(name: str) -> Any:
    """Import a module of the library, made to run on torch and to stay quiet."""
    import importlib

    os.environ["DEEPFACE_BACKEND_ENGINE"] = "pytorch"
    os.environ.setdefault("DEEPFACE_LOG_LEVEL", "40")  # our own error says what went wrong
    return importlib.import_module(name)


def weights(parameters: Parameters, wanted: list[str] | None, *, download: bool) -> dict[str, Path]:
    """Files of the networks that are needed for the attributes `wanted` (None: all), by name.

    Raises
    ------
    MissingWeights
        One is missing, and cannot or may not be downloaded.
    """
    needed = [(NETWORKS[name][1], "WEIGHTS_URL", NETWORKS[name][2]) for name in _networks(wanted)]
    found = {}
    for module, variable, file in [*needed, *DETECTORS[parameters.detector]]:
        path = _folder() / file
        if not path.is_file():
            # Only now is the library asked for the address: its modules import torch.
            addresses = getattr(_import(module), variable)
            addresses = [addresses] if isinstance(addresses, str) else list(addresses)
            addresses = [address.format(file_name=file) for address in addresses]
            missing = f"{file} is not in {path.parent} (DEEPFACE_HOME is the folder above .deepface)"
            if not download or os.environ.get("IDA_RD_OFFLINE"):
                raise MissingWeights(f"{missing}: download {addresses[0]} to {path.parent}")
            if odd := [address for address in addresses if address.partition(":")[0] not in SCHEMES]:
                raise MissingWeights(f"{missing}, and {odd[0]} is not an https address: put a copy there")
            _download(file, addresses, missing)
        found[file] = path
    return found


def _download(file: str, addresses: list[str], missing: str) -> None:
    folders, files = _import("deepface.commons.folder_utils"), _import("deepface.commons.weight_utils")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            folders.initialize_folder()
            files.download_weights_if_necessary(file_name=file, source_url=addresses)
    except (ValueError, OSError) as error:
        reason = textwrap.shorten(str(error.__cause__ or error), 120, placeholder=" ...")
        raise MissingWeights(
            f"{missing} and cannot be downloaded ({reason}): put {addresses[0]} into that folder"
        ) from None


def measure(
    parameters: Parameters, wanted: list[str] | None
) -> Callable[[list[NDArray[np.uint8]]], list[dict[str, Any]]]:
    """Load the networks of the attributes `wanted` (None: all) and return the function that asks them.

    It takes up to `BATCH` images, (H, W, 3), uint8, RGB, and returns for each: ``age`` (whole years), ``gender``
    (female, male), ``ethnicity`` (one of six labels), for both ``<attribute>:probability`` of that label and
    ``<attribute>:<label>`` of every label, [0, 1]; and ``faces``. Of several faces the largest counts; if none is
    found, there is nothing else.

    Raises
    ------
    UserError
        A weight file, of a network or of the detector, that the library refuses.
    """
    import torch

    deepface, modeling = _import("deepface.DeepFace"), _import("deepface.modules.modeling")
    device = torch.device(device_name())
    if device.type == "cpu":
        torch.set_num_threads(1)  # one worker per core, and the same order of sums for any number of workers
    if parameters.detector != "skip":
        files = [file for _, _, file in DETECTORS[parameters.detector]]
        detector = _build(modeling, "face_detector", parameters.detector, files)
        # OpenCV reads a damaged cascade without complaint, and the library then finds no face in any image.
        if parameters.detector == "opencv" and any(cascade.empty() for cascade in detector.model.values()):
            raise _damaged(files, "an empty cascade")
    loaded = {}
    for name in _networks(wanted):
        network, _, file = NETWORKS[name]
        loaded[name] = _build(modeling, "facial_attribute", network, [file])
        # The library takes the first GPU that it sees, whatever IDA_RD_DEVICE says.
        loaded[name].device = device
        loaded[name].model.to(device)

    def ask(images: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
        faces = [_faces(deepface, image, parameters.detector) for image in images]
        found: list[dict[str, Any]] = [{} if parameters.detector == "skip" else {"faces": len(all)} for all in faces]
        there = [i for i, all in enumerate(faces) if all]
        if there:
            # Always one size, since the last digits depend on it: answers about a face must depend on that face alone.
            batch = np.concatenate([faces[i][0] for i in there] + [faces[there[0]][0]] * (BATCH - len(there)))
            for name, network in loaded.items():
                for i, told in zip(there, network.predict(batch).reshape(BATCH, -1), strict=False):
                    found[i] |= _answer(name, told)
        return found

    return ask


def _build(modeling: Any, task: str, name: str, files: list[str]) -> Any:
    for file in files:
        path = _folder() / file
        if path.suffix == ".pth" and path.is_file():  # the library says what is missing
            read_file(path)
    try:
        return modeling.build_model(task=task, model_name=name)
    except Exception as error:  # whatever torch, OpenCV or ONNX raise for a damaged file
        raise _damaged(files, (str(error).strip() or type(error).__name__).splitlines()[0]) from None


def _damaged(files: list[str], reason: str) -> UserError:
    paths = ", ".join(str(_folder() / file) for file in files)
    return UserError(f"{paths}: deepface cannot load it ({reason}); remove it and run again")


def _faces(deepface: Any, image: NDArray[np.uint8], detector: str) -> list[NDArray[np.float32]]:
    """Faces of an image as the networks take them, (1, 224, 224, 3), BGR, the largest first."""
    preprocessing, exceptions = _import("deepface.modules.preprocessing"), _import("deepface.modules.exceptions")
    try:
        found = deepface.extract_faces(
            img_path=np.ascontiguousarray(image[:, :, ::-1]),
            detector_backend=detector,
            enforce_detection=detector != "skip",
            color_face="bgr",
        )
    except (exceptions.FaceNotDetected, exceptions.ImgNotFound):
        return []
    found.sort(key=lambda face: -face["facial_area"]["w"] * face["facial_area"]["h"])
    return [preprocessing.resize_image(face["face"], (224, 224)) for face in found]


def _answer(name: str, told: NDArray[np.floating]) -> dict[str, Any]:
    if name == "age":
        return {"age": int(told[0])}
    labels = GENDERS if name == "gender" else ETHNICITIES
    shares = told / told.sum() if name == "ethnicity" else told  # as `analyze` does
    best = int(np.argmax(shares))
    return {
        name: labels[best],
        f"{name}:probability": float(shares[best]),
        **{f"{name}:{label}": float(share) for label, share in zip(labels, shares, strict=True)},
    }
