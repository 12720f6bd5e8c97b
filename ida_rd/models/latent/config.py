"""What networks of latent diffusion are [1]_: sizes alone, without torch.

References
----------
.. [1] Rombach et al., "High-resolution image synthesis with latent diffusion models", CVPR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "LDM_SR_UNET",
    "LDM_SR_VQ",
    "SD2_AUTOENCODER",
    "SD2_TEXT",
    "SD2_UNET",
    "AutoencoderConfig",
    "TextConfig",
    "UNetConfig",
]

MOST = 100_000  # channels, codes: more are no network's
MOST_LEVELS = 8


def _check(numbers: tuple[int, ...], widths: tuple[int, ...], groups: int) -> None:
    """Refuse sizes of which no network can be built; ValueError says why."""
    if any(type(one) is not int or not 1 <= one <= MOST for one in (*numbers, *widths, groups)):
        raise ValueError(f"its sizes must be whole numbers from 1 to {MOST:,}")
    if not 1 <= len(widths) <= MOST_LEVELS:
        raise ValueError(f"a network of {len(widths)} levels, expected 1 to {MOST_LEVELS}")
    if any(width % groups for width in widths):
        raise ValueError(f"widths that are not multiples of its {groups} groups")


@dataclass(frozen=True)
class UNetConfig:
    """A U-Net that finds the noise of a latent.

    Attributes
    ----------
    inside, outside : int
        Channels of input and output.
    widths : tuple of int
        Channels of each level, the first at full size.
    blocks : int
        Residual blocks of a level on the way down; one more on the way up.
    attention : tuple of int
        Levels whose blocks are followed by attention, besides the middle.
    head : int
        Channels of a head of attention.
    groups : int
        Of normalisation.
    context : int or None
        Channels of a text that attention looks at besides, by transformers; None: at other pixels alone.
    """

    inside: int
    outside: int
    widths: tuple[int, ...]
    attention: tuple[int, ...]
    blocks: int = 2
    head: int = 32
    groups: int = 32
    context: int | None = None

    def __post_init__(self) -> None:
        _check((self.inside, self.outside, self.blocks, self.head, self.context or 1), self.widths, self.groups)
        if not set(self.attention) <= set(range(len(self.widths))):
            raise ValueError("attention at a level that is not there")
        if any(self.widths[level] % self.head for level in (*self.attention, -1)):
            raise ValueError(f"widths that are not multiples of the {self.head} channels of a head")

    @property
    def multiple(self) -> int:
        """What the sides of a latent must be a multiple of."""
        return 2 ** (len(self.widths) - 1)


@dataclass(frozen=True)
class AutoencoderConfig:
    """An autoencoder, of one of two kinds.

    Attributes
    ----------
    widths : tuple of int
        Channels of each level, the first at the image's size.
    latent : int
        Channels of a latent.
    codes : int or None
        Vectors that a latent's pixels are rounded to before they are decoded; None: they are not, and the encoder gives
        mean and variance of them.
    blocks : int
        Residual blocks of a level of the encoder; one more of the decoder.
    groups : int
        Of normalisation.
    """

    widths: tuple[int, ...]
    latent: int
    codes: int | None
    blocks: int = 2
    groups: int = 32

    def __post_init__(self) -> None:
        _check((self.latent, self.codes or 1, self.blocks), self.widths, self.groups)

    @property
    def factor(self) -> int:
        """Pixels of an image per pixel of its latent, along a side."""
        return 2 ** (len(self.widths) - 1)


@dataclass(frozen=True)
class TextConfig:
    """A transformer that turns the numbers of words into a text's channels.

    Attributes
    ----------
    width, inside : int
        Channels of a word, and within a layer.
    layers, heads : int
    words, positions : int
        How many different ones there are, and how many in a text.
    """

    width: int
    inside: int
    layers: int
    heads: int
    words: int = 49408
    positions: int = 77


# Those of CompVis/ldm-super-resolution-4x-openimages.
LDM_SR_UNET = UNetConfig(6, 3, (160, 320, 320, 640), (3,))
LDM_SR_VQ = AutoencoderConfig((128, 256, 512), 3, 8192)

# Those of Stable Diffusion 2. Its text encoder has a layer more, which is not used.
SD2_UNET = UNetConfig(4, 4, (320, 640, 1280, 1280), (0, 1, 2), head=64, context=1024)
SD2_AUTOENCODER = AutoencoderConfig((128, 256, 512, 512), 4, None)
SD2_TEXT = TextConfig(1024, 4096, 23, 16)
