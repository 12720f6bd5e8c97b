"""Balanced test sets at FFHQ's size: 70,000 rows from JSON files to a subset, and K-means on a million.

    python benchmarks/balance.py [--rows 70000] [--million]

The stages run as the pipeline runs them, on made-up files: a zip archive of JSON files, and images of which only the
chosen may be opened (all others are empty). The peer is scikit-learn's K-means on the same features row by row, with
the same 20 starts. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from ida_rd.balance.selection import STARTS, features, k_means_groups

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = """
seed: 0
images: {source: folder, path: faces, pattern: "*/*.png"}
attributes:
  source: {age: ffhq-features, gender: ffhq-features}
  ffhq-features: {path: features.zip}
balance:
  method: METHOD
  size: 300
  attributes: {age: {edges: [19, 37, 55]}, gender: {}}
factors: [4]
downscalers: {box: {method: resample, filter: box}}
upscalers: {flow-compact: {method: flow}}
samples: 2
distortions: {psnr: {method: pixel}}
"""


def make_faces(folder: Path, rows: int) -> pd.DataFrame:
    """Write the archive and empty image files; ages and genders about as FFHQ's."""
    rng = np.random.default_rng(0)
    ages = np.clip(rng.gamma(3.2, 9.5, rows).round(), 0, 90)
    genders = rng.choice(["female", "male"], rows, p=[0.55, 0.45])
    with zipfile.ZipFile(folder / "features.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, (age, gender) in enumerate(zip(ages, genders, strict=True)):
            face = {
                "faceRectangle": {"top": 30, "left": 30, "width": 70, "height": 70},
                "faceAttributes": {
                    "age": float(age),
                    "gender": str(gender),
                    "smile": 0.5,
                    "glasses": "NoGlasses",
                    "headPose": {"pitch": 0.0, "roll": 0.0, "yaw": 0.0},
                },
            }
            archive.writestr(f"json/{i:05d}.json", json.dumps([face]))
    for i in range(rows):
        path = folder / "faces" / f"{1000 * (i // 1000):05d}" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return pd.DataFrame({"age": ages, "gender": genders})


def run_stage(folder: Path, name: str) -> tuple[float, float, str]:
    """Seconds, peak memory in MiB and messages of a stage."""
    code = (
        f"import resource, runpy, sys; sys.argv = ['{name}.py'];\n"
        f"try:\n    runpy.run_path({str(ROOT / 'stages' / name)!r} + '.py', run_name='__main__')\n"
        "finally:\n    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    peak = next(float(line.split()[1]) / 1024 for line in done.stderr.splitlines() if line.startswith("peak "))
    return seconds, peak, done.stderr


def pipeline(rows: int, method: str) -> dict[str, float]:
    """Time plan, attributes and balance."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        make_faces(folder, rows)
        groups = "stratified" if method == "stratified" else "kmeans\n  groups: 8"
        (folder / "params.yaml").write_text(PARAMETERS.replace("METHOD", groups))
        figures: dict[str, float] = {}
        photo = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(photo).save(folder / "faces/00000/00000.png")
        for name in ("plan", "attributes"):
            figures[f"{name}_s"], figures[f"{name}_MiB"], _ = run_stage(folder, name)
        # The chosen ones become images: all others stay empty, and would be refused if opened.
        sys.path.insert(0, str(ROOT))
        from ida_rd.balance.stage import select
        from ida_rd.core.readers import read_json
        from ida_rd.core.tables import read_table

        recipe = read_json(folder / "data/plan/balance.json", hint="")
        subset = select(read_table(folder / "data/attributes.csv", hint=""), recipe).subset
        for file in subset.file:
            Image.fromarray(photo).save(folder / "faces" / file)
        figures["balance_s"], figures["balance_MiB"], said = run_stage(folder, "balance")
        if "error" in said:
            raise SystemExit(said)
        figures["chosen"] = len(list((folder / "data/hr").glob("*.png")))
        figures["total_s"] = sum(figures[f"{name}_s"] for name in ("plan", "attributes", "balance"))
        return {key: round(value, 2) for key, value in figures.items()}


def clusters(rows: int) -> dict[str, float]:
    """K-means of labels, ours against scikit-learn's row by row: time and inertia."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": np.clip(rng.gamma(3.2, 9.5, rows).round(), 0, 90),
            "gender": rng.choice(["female", "male"], rows),
            "race": rng.choice(["a", "b", "c"], rows, p=[0.6, 0.25, 0.15]),
        }
    )
    values = features(table, ["age", "gender", "race"])
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    start = time.perf_counter()
    ours = k_means_groups(values, 24, 0)
    mine = time.perf_counter() - start
    with threadpool_limits(1):
        start = time.perf_counter()
        peer = KMeans(24, n_init=STARTS, random_state=0).fit(standard)
        theirs = time.perf_counter() - start
    inertia = sum(np.square(standard[ours == g] - standard[ours == g].mean(axis=0)).sum() for g in range(24))
    return {"rows": rows, "ratio": round(theirs / mine, 2), "inertia_ratio": round(float(inertia / peer.inertia_), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=70000)
    parser.add_argument("--million", action="store_true", help="K-means on a million distinct rows too")
    options = parser.parse_args()
    result: dict[str, object] = {method: pipeline(options.rows, method) for method in ("stratified", "kmeans")}
    print(result, file=sys.stderr, flush=True)
    result["k_means"] = clusters(options.rows)
    if options.million:
        values = np.random.default_rng(0).normal(size=(10**6, 4))
        start = time.perf_counter()
        k_means_groups(values, 24, 0)
        result["million_distinct_rows_s"] = round(time.perf_counter() - start, 1)
    result["peak_MiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
