"""``make figures``: docs/compare.md's outputs, from a real run in two branches of a temporary clone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENT = ROOT / "docs" / "compare.md"
INTRO = """\
# Compare branches of work

*Written by `make figures` from a run in a temporary clone: {images} images of {crop} x {crop} pixels, {samples}
samples, on `main` with `dpid: {{method: dpid}}`, then on a branch with `lambda: 0.5`. Only dpid's branch of the
pipeline ran again.*
"""
PARTS = [
    (
        ("dvc", "params", "diff", "main", "--md"),
        "Which settings differ:",
        "text",
    ),
    (
        ("dvc", "metrics", "diff", "main", "--md"),
        "Which scores changed. `metrics/ida_rd.json` holds only the scores, so that this stays readable:",
        "text",
    ),
    (
        ("ida-rd", "compare", "main"),
        "What a pull request should say: by how much, whether it is beyond noise, and what made the difference. Paste"
        " it into the request, or let CI do so: it is Markdown.",
        "quote",
    ),
    (
        (
            "dvc",
            "exp",
            "show",
            "--all-branches",
            "--only-changed",
            "--drop",
            "^(data|metrics/|params.yaml|Created)",
            "--md",
        ),
        "Branches and experiments (`dvc exp run -S downscalers.dpid.lambda=0.7`) side by side, only the differences:",
        "text",
    ),
]
OUTRO = """\
`dvc plots diff main` writes a page with the scores, the mean ranks and the rate-distortion plane of both, side by
side. `dvc metrics show` and `dvc metrics diff` look at the root's run; for an experiment's, name its file:
`dvc metrics diff main --targets experiments/real-world/metrics/ida_rd.json`.
"""


def _run(*command: str, cwd: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = os.environ | {"PATH": path, "PYTHONPATH": str(cwd), "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def _commit(clone: Path, message: str) -> None:
    _run("git", "add", "--all", cwd=clone)
    _run("git", "-c", "user.name=ida-rd", "-c", "user.email=ida-rd@localhost", "commit", "-qm", message, cwd=clone)


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        clone = Path(work) / "ida-rd"
        _run("git", "clone", "--quiet", str(ROOT), str(clone), cwd=ROOT)
        _run("git", "switch", "--quiet", "-C", "main", cwd=clone)
        parameters = yaml.safe_load((clone / "params.yaml").read_text(encoding="utf-8"))
        parameters["images"]["crop"] = 128
        parameters["balance"]["size"] = 13
        parameters["primary"] = "fsim"  # whatever weights are here
        parameters["samples"] = 2
        parameters["downscalers"] = {"bicubic": {"method": "resample", "filter": "bicubic"}, "dpid": {"method": "dpid"}}
        parameters["distortions"] = {name: parameters["distortions"][name] for name in ("fsim", "psnr")}
        path = clone / "params.yaml"
        path.write_text(yaml.safe_dump(parameters, sort_keys=False), encoding="utf-8")
        _run("dvc", "repro", "--quiet", cwd=clone)
        _commit(clone, "main")
        _run("git", "switch", "--quiet", "--create", "half-the-details", cwd=clone)
        parameters["downscalers"]["dpid"]["lambda"] = 0.5
        path.write_text(yaml.safe_dump(parameters, sort_keys=False), encoding="utf-8")
        _run("dvc", "repro", "--quiet", cwd=clone)
        _commit(clone, "half the details")
        lines = [
            INTRO.format(
                images=parameters["balance"]["size"],
                crop=parameters["images"]["crop"],
                samples=parameters["samples"],
            )
        ]
        for command, text, form in PARTS:
            output = _run(*command, cwd=clone).strip()
            lines += [text, "", f"    $ {shlex.join(command)}", ""]
            lines += [f"> {line}".rstrip() for line in output.splitlines()] if form == "quote" else [output]
            lines.append("")
        DOCUMENT.write_text("\n".join([*lines, OUTRO]), encoding="utf-8")


if __name__ == "__main__":
    main()
