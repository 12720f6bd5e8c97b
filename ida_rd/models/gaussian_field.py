"""Images whose posterior is known: a stationary Gaussian field on a torus, seen through a linear downscaler.

Let x be the field (spectrum P), u the rounding of the HR image to 8 bits and n what is added to the LR image, both
white, so that HR = x + u and LR = A (x + u) + n with a filter A of transfer function H. The transform of LR at a
frequency g is a mean over its factor^2 aliases a, and these meet no others, so that all is solved by FFT:

    S(g) = mean_a |H_a|^2 (P_a + var u) + var n      power of LR                                            (1)
    k_a = P_a conj(H_a) / S(g)                       the posterior mean of x is k times LR: Wiener's filter (2)
    x' + k (LR - LR')                                a draw of the posterior: x', LR' drawn from the prior  (3)

(2) is Wiener's [1]_, for factor^2 unknowns and one observation; (3) is Hoffman and Ribak's [2]_. `expected` gives the
score of such a decoder in closed form, whatever it believes. Of pixel p of a cell, with k_p the mean over aliases of
``k_a exp(2 pi i a p / factor)``, q_p likewise of ``q_a = D_a conj(H_a)``, D = P + var u, all of the truth but k, P',
S' of the decoder's belief,

    B(p) = mean D + mean_g (|k_p|^2 S - 2 Re k_p conj(q_p))     squared error of the decoder's mean             (4)
    V(p) = mean P' - mean_g |k_p|^2 S' + var u                  variance of its samples, once they are rounded  (5)

and the mean squared error of a sample is B + V. With the true belief B = V, and B is the least mean squared error of
any decoder: the excess minimum risk [3]_ of seeing LR instead of HR. Only (co)variances enter, so that it does not
matter that rounding is uniform, not Gaussian. (B is that of x, not x + u: what LR tells of the rounding u of single HR
pixels is not used. It is some 1e-5 of B.) A
decoder that is too sure of itself may score less than the true posterior, whose samples score 2 B: B + V is no proper
score, and of a difference of scores only the part in B is never negative.

References
----------
.. [1] Wiener, "Extrapolation, interpolation, and smoothing of stationary time series", MIT Press, 1949.
.. [2] Hoffman, Ribak, "Constrained realizations of Gaussian fields", Astrophysical J. 380, 1991.
.. [3] Gyorfi, Linder, Walk, "Lossless transformations and excess risk bounds in statistical inference", Entropy 25(10):
   1394, 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ida_rd.models.linear_filters import Kernel, aliases, kernel_of, over_aliases, transfer

__all__ = ["ROUNDING", "Bound", "Expected", "Field", "Posterior", "World", "expected", "wiener_bound"]

Array = NDArray[np.float64]
ROUNDING = 1 / 12  # variance of rounding to whole levels
WHITE = 255.0
# Of equally correlated channels: grey, and two differences. Rows are channels.
BASIS = np.array(
    [
        [1 / math.sqrt(3), 1 / math.sqrt(2), 1 / math.sqrt(6)],
        [1 / math.sqrt(3), -1 / math.sqrt(2), 1 / math.sqrt(6)],
        [1 / math.sqrt(3), 0.0, -2 / math.sqrt(6)],
    ]
)


@dataclass(frozen=True)
class Field:
    """A stationary Gaussian field of three channels.

    Attributes
    ----------
    sigma : float
        Standard deviation of a pixel, in grey levels.
    cutoff : float
        Frequency f0 below which the spectrum is flat, in cycles per HR pixel: ``P ~ 1 / (f^2 + f0^2) + floor``.
    floor : float
        Share of the variance that is white.
    correlation : float
        Of every two channels, in [0, 1).
    mean : float
        Grey level.
    """

    sigma: float = 30.0
    cutoff: float = 1 / 128
    floor: float = 1e-3
    correlation: float = 0.8
    mean: float = 127.5

    def spectrum(self, height: int, width: int) -> Array:
        """Power per pixel and frequency of one channel, (H, W); its mean is sigma^2 on every grid."""
        square = np.add.outer(np.fft.fftfreq(height) ** 2, np.fft.fftfreq(width) ** 2)
        power = 1 / (square + self.cutoff**2)
        return self.sigma**2 * ((1 - self.floor) * power / power.mean() + self.floor)

    def channels(self) -> Array:
        """Variances of grey and of the two differences (the columns of `BASIS`), (3,); their mean is 1."""
        return np.array([1 + 2 * self.correlation, 1 - self.correlation, 1 - self.correlation])

    def draw(self, white: Array) -> Array:
        """The field that standard normal numbers (3, H, W) give, (3, H, W), in grey levels."""
        amplitude = np.sqrt(self.channels()[:, None, None] * self.spectrum(*white.shape[1:]))
        return self.mean + _rotated(np.fft.ifft2(amplitude * np.fft.fft2(white)).real)


@dataclass(frozen=True)
class World:
    """How HR and LR images come about, or how a decoder believes that they do.

    Attributes
    ----------
    field : Field
    kernel : Kernel
        Of the downscaler.
    factor : int
    noise : float
        Variance of what is added to LR pixels, in levels^2, their rounding included.
    rounding : float
        Variance of the rounding of HR pixels.
    """

    field: Field
    kernel: Kernel
    factor: int
    noise: float = ROUNDING
    rounding: float = ROUNDING


def _rotated(planes: Array) -> Array:
    return np.einsum("ci,i...->c...", BASIS, planes)


class Posterior:
    """HR given LR, in one world, for HR images of one size; see the module's equations.

    Parameters
    ----------
    world : World
    height, width : int
        Of the HR image; multiples of the factor.

    Attributes
    ----------
    prior, gain : ndarray
        (3, H, W): spectra P and filters k (2) of grey and of the two differences.
    power : ndarray
        (3, h, w): S (1).
    """

    def __init__(self, world: World, height: int, width: int) -> None:
        self.world, self.factor = world, world.factor
        self.transfer = transfer(world.kernel, height, width)
        self.prior = world.field.channels()[:, None, None] * world.field.spectrum(height, width)
        self.added = world.noise + world.rounding * over_aliases(np.abs(self.transfer) ** 2, self.factor)
        self.power = over_aliases(np.abs(self.transfer) ** 2 * self.prior, self.factor) + self.added
        self.gain = self.prior * self.transfer.conj() / self._tiled(self.power)

    def _tiled(self, lr: NDArray) -> NDArray:
        return np.tile(lr, (1,) * (lr.ndim - 2) + (self.factor, self.factor))

    def mean(self, lr: Array) -> Array:
        """The posterior mean of the field, (3, H, W), of an LR image (3, h, w); grey levels."""
        return self.sample(lr, np.zeros((3, *self.transfer.shape)), np.zeros_like(lr, dtype=np.float64))

    def sample(self, lr: Array, white: Array, white_lr: Array) -> Array:
        """One draw (3) of the posterior of the field, before it is rounded.

        Parameters
        ----------
        lr : ndarray
            (3, h, w), grey levels.
        white, white_lr : ndarray
            (3, H, W) and (3, h, w), standard normal.
        """
        mean = self.world.field.mean
        given = np.fft.fft2(np.einsum("ci,c...->i...", BASIS, lr - mean))
        field = np.sqrt(self.prior) * np.fft.fft2(white)
        seen = over_aliases(self.transfer * field, self.factor) + np.sqrt(self.added) * np.fft.fft2(white_lr)
        return mean + _rotated(np.fft.ifft2(field + self.gain * self._tiled(given - seen)).real)


@dataclass(frozen=True)
class Expected:
    """What a decoder scores, in levels^2, for every pixel of a cell of factor x factor HR pixels.

    Attributes
    ----------
    squared_error : ndarray
        (factor, factor): of the mean of its samples (4).
    variance : ndarray
        (factor, factor): of its samples (5).
    """

    squared_error: Array
    variance: Array

    @property
    def mse(self) -> float:
        """Mean squared error of a sample: the score."""
        return float(self.squared_error.mean() + self.variance.mean())

    @property
    def ratio(self) -> float:
        """Variance to squared error."""
        return float(self.variance.mean() / self.squared_error.mean())

    def coverage(self, level: float, samples: int, counted: NDArray[np.bool_] | None = None) -> float:
        """How often the original lies in Student's prediction interval of K samples.

        ``mean -+ t s sqrt(1 + 1/K)`` of K normal samples holds another one of their kind in exactly `level` of the
        cases. The original is of their kind if the decoder is right.

        Parameters
        ----------
        level : float
        samples : int
            K, at least 2.
        counted : ndarray, optional
            (factor, factor): which pixels of a cell count.
        """
        from scipy import stats

        quantile = stats.t.ppf((1 + level) / 2, samples - 1)
        width = self.variance * (1 + 1 / samples) / (self.squared_error + self.variance / samples)
        share = 2 * stats.t.cdf(quantile * np.sqrt(width), samples - 1) - 1
        return float((share if counted is None else share[counted]).mean())


def _of_cell(spectrum: NDArray, factor: int) -> NDArray:
    """``mean_a s_a exp(2 pi i a p / factor)`` of every LR frequency: (..., p, h, q, w) of (..., H, W)."""
    return np.fft.ifft2(aliases(spectrum, factor), axes=(-4, -2))


def expected(truth: World, belief: World, height: int, width: int) -> Expected:
    """The score of samples by `belief` where HR and LR images are of `truth`, in closed form: (4) and (5).

    Parameters
    ----------
    truth, belief : World
        Of one factor and one mean.
    height, width : int
        Of the HR image.
    """
    if (truth.factor, truth.field.mean) != (belief.factor, belief.field.mean):
        raise ValueError("truth and belief differ in factor or mean")
    factor = truth.factor
    true, decoder = Posterior(truth, height, width), Posterior(belief, height, width)
    original = true.prior + truth.rounding
    k = _of_cell(decoder.gain, factor)
    q = _of_cell(original * true.transfer.conj(), factor)
    explained = np.abs(k) ** 2 * true.power[:, None, :, None] - 2 * (k * q.conj()).real
    error = original.mean(axis=(1, 2))[:, None, None] + explained.mean(axis=(-3, -1))
    kept = (np.abs(k) ** 2 * decoder.power[:, None, :, None]).mean(axis=(-3, -1))
    variance = decoder.prior.mean(axis=(1, 2))[:, None, None] - kept + belief.rounding
    # A channel has a third of grey and two of the differences, which are alike: all channels have the same.
    return Expected(error.mean(axis=0), variance.mean(axis=0))


class Bound(NamedTuple):
    """The Wiener bound: what a Gaussian world loses.

    Attributes
    ----------
    variance : float
        Of a pixel given LR, in levels^2: the least mean squared error of any decoder. A sample of the posterior has
        twice that.
    psnr : float
        The same in dB.
    """

    variance: float
    psnr: float


def wiener_bound(kernel: Kernel | str, factor: int, spectrum: Array, noise: float = ROUNDING) -> Bound:
    """What is lost by a linear filter of images that are a Gaussian field of this spectrum, on a torus.

    Of images that are no Gaussian field it is what the best *linear* decoder loses.

    Parameters
    ----------
    kernel : Kernel or str
        Taps along one axis, applied along both; or one of `ida_rd.models.linear_filters.FILTERS`.
    factor : int
    spectrum : ndarray
        (H, W), levels^2: power per pixel of the HR images at each frequency, in the order of ``numpy.fft.fft2``; its
        mean is a pixel's variance. Sides are multiples of the factor.
    noise : float
        Variance of what is added to LR pixels; by default, their rounding.
    """
    kernel = kernel_of(kernel, factor) if isinstance(kernel, str) else kernel
    response = transfer(kernel, *spectrum.shape)
    power = over_aliases(np.abs(response) ** 2 * spectrum, factor) + noise
    explained = over_aliases(np.abs(response * spectrum) ** 2, factor) / factor**2
    # Where nothing passes and nothing is added, nothing is explained.
    share = np.divide(explained, power, out=np.zeros_like(power), where=power > 0)
    variance = float(spectrum.mean() - share.mean())
    return Bound(variance, 10 * math.log10(WHITE**2 / variance) if variance > 0 else math.inf)
