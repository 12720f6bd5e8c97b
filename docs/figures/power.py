"""``make figures``: the numbers of docs/ci.md, from scores of the sample photographs.

``python docs/figures/power.py --measure`` scores them again and writes power.csv, which takes some minutes. Without
it, the document's table is written from power.csv: photographs are resampled, and ``ida-rd assert``'s test is asked.
"""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ida_rd.aggregate.ladder import crossing
from ida_rd.aggregate.noninferiority import noninferiority_p, pass_rate
from ida_rd.amounts import BLURS, rungs
from ida_rd.asserting import BY, LEVEL, MARGINS, judge
from ida_rd.core.seeds import generator
from ida_rd.core.typeset import markdown_table
from ida_rd.photos import sample_photographs
from ida_rd.scoring import score

HERE = Path(__file__).resolve().parent
MANY = HERE.parents[1] / "experiments/libraries/results/bsds500-test/images.csv"  # LPIPS of 200 photographs
SCORES, DOCUMENT = HERE / "power.csv", HERE.parent / "ci.md"
MARKS = ("<!-- power: written by make figures -->\n", "<!-- end of power -->\n")
FILTERS = ("bicubic", "hamming", "box", "bilinear", "nearest")
REFERENCE = "lanczos"
SHOWN = ("bicubic", "box")
PHOTOGRAPHS = (13, 24, 50)
FEW = (5, 13, 24)
DRAWS = 20_000


def measure() -> None:
    """Write what the filters and the ladder lose on each sample photograph."""
    ladder = {f"ladder-{round(100 * s):03d}": entry for s, entry in zip(BLURS, rungs(), strict=True)}
    asked = {name: name for name in (REFERENCE, *FILTERS)}
    settings: dict[str, Any] = {"upscaler": "flow", "distortions": ["fsim", "dss", "psnr"], "resamples": 100}
    result = score({**asked, **ladder}, sample_photographs(), **settings)  # by the decoder of `ida-rd assert`
    wide = result.images[["downscaler", "image_id", "fsim", "dss", "psnr"]]
    wide.round(6).to_csv(SCORES, index=False, lineterminator="\n")


def losses(by: str) -> pd.DataFrame:
    """What each downscaler loses on each photograph."""
    table = pd.read_csv(SCORES).pivot_table(by, "image_id", "downscaler")
    return -table if by == "psnr" else table


def power(centred: NDArray[np.float64], photographs: int, *, seed: int = 0) -> float:
    """Share of passes at no difference, by the usual distortion and margin."""
    settings = {"margin": MARGINS[BY], "level": LEVEL, "draws": DRAWS, "seed": seed}
    return pass_rate(centred, photographs=photographs, **settings)  # type: ignore[arg-type]


def differences(name: str) -> NDArray[np.float64]:
    """How much more a filter loses than Lanczos on each sample photograph."""
    wide = losses(BY)
    return (wide[name] - wide[REFERENCE]).to_numpy(np.float64)


def wrongly(photographs: int) -> tuple[float, float]:
    """Largest share of passes at the margin over all ordered pairs of Pillow's filters: Student's test, and ours."""
    wide = pd.read_csv(MANY).pivot_table("lpips-alex", "image_id", "downscaler")
    rates = []
    for a, b in permutations((REFERENCE, *FILTERS), 2):
        values = (wide[f"pillow-{a}"] - wide[f"pillow-{b}"]).to_numpy(np.float64)
        values = values - values.mean()
        drawn = values[generator("wrongly", photographs).integers(0, len(values), (DRAWS // 4, photographs))]
        student = stats.ttest_1samp(drawn, 0.0, axis=1, alternative="less").pvalue
        rates.append([(p < LEVEL).mean() for p in (student, noninferiority_p(drawn))])
    most = np.max(rates, axis=0)
    return float(most[0]), float(most[1])


def outcome(name: str) -> str:
    """What the command says of a filter and Lanczos."""
    wide = losses(BY)[[name, REFERENCE]].to_numpy(np.float64)
    known: dict[str, Any] = {"reference": REFERENCE, "by": BY, "label": "1 - FSIM", "upscaler": "flow-compact"}
    known |= {"images": len(wide), "samples": 3, "factor": 4}
    return str(judge(wide, MARGINS[BY], LEVEL, downscaler=name, **known))


def document() -> str:
    """What is written into the document: two outcomes, three tables."""
    lines = [f"    $ ida-rd assert --downscaler {n} --not-worse-than {REFERENCE}\n    {outcome(n)}" for n in SHOWN]
    rows = []
    for name in FILTERS:
        values = differences(name)
        rates = [f"{int(100 * power(values - values.mean(), count))} %" for count in PHOTOGRAPHS]
        rows.append([name, f"{values.mean():+.4f}", f"{values.std(ddof=1):.4f}", *rates])
    heads = [f"passes at {count}" for count in PHOTOGRAPHS]
    lines += ["", *markdown_table(["filter", f"loses more than {REFERENCE}", "spread", *heads], rows)]
    rows = [[str(count), *(f"{100 * rate:.1f} %" for rate in wrongly(count))] for count in FEW]
    lines += ["", *markdown_table(["photographs", "Student's t passes wrongly", "this test"], rows)]
    rows = []
    for name in (REFERENCE, *FILTERS):
        cells = []
        for by in ("fsim", "dss", "psnr"):
            means = losses(by).mean()
            ladder = means[[f"ladder-{round(100 * s):03d}" for s in BLURS]].to_numpy()
            blur = crossing(np.array([means[name]]), ladder[None], np.array(BLURS))[0]
            cells.append(
                "less than bicubic" if means[name] < ladder[0] else "more than 1.6" if blur > 9 else f"{blur:.2f}"
            )
        rows.append([name, *cells])
    lines += ["", *markdown_table(["filter", "blur by 1 - FSIM", "by 1 - DSS", "by PSNR"], rows)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the document's tables."""
    if "--measure" in sys.argv[1:]:
        measure()
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    DOCUMENT.write_text(f"{before}{MARKS[0]}\n{document()}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
