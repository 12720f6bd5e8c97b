"""The published versions of DiffBIR: their files, prompts, and how they are sampled; known without torch.

Of [1]_; the schedule of v2.1 is that of [2]_. v2.1 is published with a text about each image before its prompt, which
another network writes; here the prompt is the fixed part alone.

References
----------
.. [1] Lin et al., "DiffBIR: toward blind image restoration with generative diffusion prior", ECCV 2024.
.. [2] Lin et al., "Common diffusion noise schedules and sample steps are flawed", WACV 2024.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["BEGIN", "END", "FACTOR", "LEAST", "MULTIPLE", "VERSIONS", "Name", "Role", "Version", "Way"]

Name = Literal["v1", "v2", "v2.1"]
Role = Literal["base", "control", "stage1"]
Way = Literal["spaced", "ddim", "euler_a", "dpm++_2m", "dpm++_3m_sde", "dpm_solver"]
FACTOR = 4
LEAST = 512  # pixels of the short side at which an image is made
MULTIPLE = 64  # of its sides, padded
BEGIN, END = 49406, 49407  # words before and after a prompt, which zeros follow: other programs repeat the end

# Numbers of the words of the published prompts, without BEGIN and END.
COMPLAINTS = (1042, 3027, 267, 21977, 267, 1042, 268, 9977, 267, 33495, 267, 569, 8157, 267, 5613, 28063)
PRAISE = (
    25602, 267, 1400, 18501, 267, 5302, 12609, 267, 2807, 1996, 320, 9310, 17805, 337, 3934, 267, 22146, 12609, 1125,
    268, 16157, 13162, 7657, 267, 274, 273, 330, 267, 3140, 19016, 267, 8118, 4414, 267, 8331, 613, 890, 4281, 23163,
    267, 3575, 28267, 23163, 267, 22146, 17126, 1294, 267, 1878, 2193, 561, 37715, 269,
)  # fmt: skip
FAULTS = (
    3086, 267, 2870, 3086, 267, 6052, 267, 3610, 267, 794, 267, 5269, 267, 2870, 3086, 267, 7651, 267, 14740, 1844,
    267, 274, 323, 13024, 267, 15636, 5857, 267, 12102, 2540, 267, 7615, 267, 15987, 267, 5719, 3027, 267, 1042, 3027,
    267, 15479, 267, 2505, 2110, 267, 9189, 267, 73, 11207, 30249, 267, 561, 6528, 267, 1049, 934, 267, 962, 268, 8990,
    269,
)  # fmt: skip


@dataclass(frozen=True)
class Version:
    """One of them.

    Attributes
    ----------
    files : dict
        Ids of the catalogue. ``base`` is Stable Diffusion, and of v1 everything.
    restorer : tuple of str and int
        The network of stage 1: its architecture by the package spandrel, and its scale.
    sampler, steps, cfg
        As published.
    prompt, negative : tuple of int
        Wanted, and unwanted.
    zero : bool
        Whether the last time is noise alone, and the network gives velocities.
    """

    files: dict[Role, str] = field(hash=False)
    restorer: tuple[str, int]
    sampler: Way = "spaced"
    steps: int = 50
    cfg: float = 1.0
    prompt: tuple[int, ...] = ()
    negative: tuple[int, ...] = ()
    zero: bool = False


VERSIONS: dict[Name, Version] = {
    "v1": Version({"base": "diffbir.general_full_v1", "stage1": "diffbir.general_swinir_v1"}, ("SwinIR", 1)),
    "v2": Version(
        {"base": "diffbir.sd2_1", "control": "diffbir.v2", "stage1": "diffbir.bsrnet"},
        ("ESRGAN", 4),
        cfg=4.0,
        negative=COMPLAINTS,
    ),
    "v2.1": Version(
        {"base": "diffbir.sd2_1_zsnr", "control": "diffbir.v2_1", "stage1": "diffbir.swinir_v2_1"},
        ("SwinIR", 1),
        sampler="dpm++_3m_sde",
        steps=10,
        cfg=6.0,
        prompt=PRAISE,
        negative=FAULTS,
        zero=True,
    ),
}
