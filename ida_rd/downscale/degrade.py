"""Controlled degradations, before or after a downscaler: the synthetic processes of IDA-RD.

    blur-2: {method: resample, filter: bicubic, degrade: [{gaussian_blur: {sigma: 2}}]}

Steps are applied in the order in which they are listed: those ``when: before`` to the HR image, then
the downscaler, then those ``when: after`` (the default) to the LR image. Each step ends in 8 bits. The
authors' own degradation code is unpublished: each one's docstring says which reading of the paper it is. Nor
does their paper say whether what is done before the downscaler is measured in HR or LR pixels: see ``units``.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from pydantic import Field, model_validator

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.seeds import generator
from ida_rd.downscale.cubic import cubic
from ida_rd.downscale.eight_bit import round_levels

__all__ = [
    "STEPS",
    "Contrast",
    "GaussianBlur",
    "GaussianNoise",
    "Jpeg",
    "Quantization",
    "Step",
    "apply_steps",
    "bicubic_noise_gain",
    "check_steps",
    "through_jpeg",
]

Pixels = NDArray[np.uint8]
Units = Literal["hr", "lr"]


class Step(Parameters):
    """A degradation, before or after the downscaler."""

    RANDOM: ClassVar[bool] = False
    HARMLESS: ClassVar[tuple[str, ...] | None] = None  # as a method's: see `ida_rd.core.methods`

    when: Literal["before", "after"] = Field(
        default="after", description="before: applied to the HR image; after: to the LR image"
    )

    def in_own_units(self, factor: int) -> Step:
        """The same step with its parameters in the units of the image that it is applied to."""
        return self

    def apply(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """Degrade (H, W, 3) uint8; the result has the same shape and type."""
        raise NotImplementedError


class GaussianBlur(Step):
    """Gaussian blur.

    Pillow's fits the paper's Table 10.
    """

    HARMLESS: ClassVar[tuple[str, ...] | None] = ("when", "sigma", "backend", "units")

    sigma: float = Field(ge=0, le=100, description="standard deviation, in pixels")
    backend: Literal["pil", "exact"] = Field(
        default="pil",
        description="pil: Pillow's, three box passes each way, rounded to 8 bits after each; exact: a sampled kernel of"
        " radius ceil(4 sigma), mirrored at the border",
    )
    units: Units | None = Field(
        default=None, description="whose pixels sigma is in; null: those of the image that is blurred"
    )

    def in_own_units(self, factor: int) -> GaussianBlur:
        scale = {("before", "lr"): factor, ("after", "hr"): 1 / factor}.get((self.when, str(self.units)), 1)
        return self.model_copy(update={"sigma": self.sigma * scale, "units": None})

    def apply(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        if self.backend == "pil":
            return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(self.sigma)))
        if self.sigma == 0:
            return image.copy()
        from scipy.ndimage import correlate1d

        radius = int(np.ceil(4 * self.sigma))
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / self.sigma) ** 2)
        kernel /= kernel.sum()
        blurred = image.astype(np.float64)
        for axis in (0, 1):
            blurred = correlate1d(blurred, kernel, axis=axis, mode="reflect")
        return round_levels(blurred)


class GaussianNoise(Step):
    """Additive Gaussian noise, independent per pixel and channel.

    The paper's numbers are read as standard deviations: read as variances, its smallest would be visible.
    """

    RANDOM: ClassVar[bool] = True
    HARMLESS: ClassVar[tuple[str, ...] | None] = ("when", "sigma", "units")

    sigma: float = Field(ge=0, le=10, description="standard deviation, for values in [0, 1]")
    units: Units | None = Field(
        default=None,
        description="image in which sigma is measured; null: the one that the noise is added to; lr, with when:"
        " before: sigma is what bicubic reduction leaves; hr, with when: after: what bicubic reduction"
        " leaves of sigma is added",
    )

    def in_own_units(self, factor: int) -> GaussianNoise:
        gain = bicubic_noise_gain(factor)
        scale = {("before", "lr"): 1 / gain, ("after", "hr"): gain}.get((self.when, str(self.units)), 1)
        return self.model_copy(update={"sigma": self.sigma * scale, "units": None})

    def apply(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        return round_levels(image + 255 * self.sigma * rng.standard_normal(image.shape))


class Contrast(Step):
    """Contrast about the mean luminance, as Pillow's ``ImageEnhance.Contrast``, but rounded.

    Pillow truncates: at factors near 1 about half of the values move down a level, and the image is darker. A score
    sees that, and not the contrast.
    """

    HARMLESS: ClassVar[tuple[str, ...] | None] = ("when", "factor", "compat")

    factor: float = Field(ge=0, le=100, description="1 changes nothing, 0 leaves plain grey")
    compat: Literal["pillow"] | None = Field(
        default=None, description="pillow: truncated as ImageEnhance does, to repeat published numbers; null: rounded"
    )

    def apply(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        if self.compat == "pillow":
            return np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(self.factor))
        grey = int(np.asarray(Image.fromarray(image).convert("L")).mean() + 0.5)  # Pillow's
        return round_levels(grey + self.factor * (image.astype(np.float64) - grey))


class Quantization(Step):
    """Fewer grey levels.

    Equidistant levels are the plain reading of the paper.
    """

    HARMLESS: ClassVar[tuple[str, ...] | None] = ("when", "n", "mode")

    n: int = Field(ge=2, le=256, description="levels kept: smaller is coarser; at most 19 for mode step20")
    mode: Literal["levels", "step20", "palette"] = Field(
        default="levels",
        description="levels: n equidistant levels per channel; step20: multiples of 20 - n; palette: n colours, by"
        " median cut",
    )

    @model_validator(mode="after")
    def _step_is_positive(self) -> Quantization:
        if self.mode == "step20" and self.n > 19:
            raise ValueError("mode step20 needs n of at most 19")
        return self

    def apply(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        if self.mode == "palette":
            return np.asarray(Image.fromarray(image).quantize(self.n, Image.Quantize.MEDIANCUT).convert("RGB"))
        if self.mode == "levels":
            return round_levels(np.floor(image / 255 * (self.n - 1) + 0.5) * 255 / (self.n - 1))
        step = 20 - self.n
        return round_levels(np.floor(image / step + 0.5) * step)


class Jpeg(Step):
    """JPEG by Pillow's codec."""

    HARMLESS: ClassVar[tuple[str, ...] | None] = ("when", "quality", "subsampling")

    quality: int = Field(ge=1, le=100, description="quality of the file, on Pillow's scale")
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = Field(default="4:2:0", description="subsampling of chroma")

    def apply(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        return through_jpeg(image, self.quality, self.subsampling)


def through_jpeg(image: Pixels, quality: int, subsampling: str = "4:2:0") -> Pixels:
    """Write (H, W, 3) uint8 as JPEG and read it back."""
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))


def bicubic_noise_gain(factor: int) -> float:
    """Standard deviation that independent noise of 1 has after antialiased bicubic reduction, far from the border."""
    weights = cubic((np.arange(4 * factor) + 0.5 - 2 * factor) / factor)
    weights /= weights.sum()
    return float(np.square(weights).sum())  # two axes: the square of the square root


STEPS: dict[str, type[Step]] = {
    "gaussian_blur": GaussianBlur,
    "gaussian_noise": GaussianNoise,
    "contrast": Contrast,
    "quantization": Quantization,
    "jpeg": Jpeg,
}


def check_steps(given: Any, *, where: str) -> list[dict[str, Any]]:
    """Check a list of steps from ``params.yaml`` and fill in the defaults.

    Parameters
    ----------
    given : list of dict
        One-key mappings, such as ``{gaussian_blur: {sigma: 2}}``.
    where : str
        Its key in ``params.yaml``.

    Raises
    ------
    UserError
        Names the key and what is wrong.
    """
    if not isinstance(given, list):
        raise UserError(f"{where}: give a list of degradations, such as [{{gaussian_blur: {{sigma: 2}}}}]")
    steps = []
    for i, step in enumerate(given):
        if not isinstance(step, dict) or len(step) != 1:
            raise UserError(
                f"{where}.{i}: give one degradation with its parameters, such as gaussian_blur: {{sigma: 2}}"
            )
        ((kind, parameters),) = step.items()
        if kind not in STEPS:
            raise UserError(f"{where}.{i}: no degradation is called {kind!r}; {did_you_mean(str(kind), STEPS)}")
        steps.append({kind: validate(STEPS[kind], parameters, where=f"{where}.{i}.{kind}").model_dump(mode="json")})
    return steps


def apply_steps(
    image: Pixels, steps: Sequence[dict[str, Any]], when: str, *, factor: int, seed: int, image_id: str
) -> tuple[Pixels, list[dict[str, Any]]]:
    """Apply the steps of one side of the downscaler to (H, W, 3) uint8.

    The random numbers of step i depend on (seed, image_id, i) alone: two downscalers degraded alike
    get the same noise.

    Returns
    -------
    image : ndarray
        Of the same shape, uint8.
    draws : list of dict
        For every random step: its place, what it is, its parameters in the units of the image, and the
        key of its generator.
    """
    draws = []
    for i, step in enumerate(steps):
        ((kind, parameters),) = step.items()
        given = STEPS[kind](**parameters)
        if given.when != when:
            continue
        degradation, key = given.in_own_units(factor), ("degrade", seed, image_id, i)
        image = degradation.apply(image, generator(*key))
        if degradation.RANDOM:
            draws.append({"step": i, kind: degradation.model_dump(mode="json", exclude_none=True), "generator": key})
    return image, draws
