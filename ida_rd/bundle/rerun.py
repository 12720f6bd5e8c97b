"""Do the rows of a bundle follow from the images? Compute branches again, and compare sample by sample.

What is run is decided here, from the bundle's parameters, by `ida_rd.bundle.confine`; it runs in another process,
offline, in a temporary folder, with limits on time and memory.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from tqdm import tqdm

from ida_rd.bundle.compared import Branched, compare
from ida_rd.bundle.confine import IMAGES, objections, with_own_files
from ida_rd.bundle.folder import refusal
from ida_rd.bundle.verify import Verified
from ida_rd.core.ending import started
from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import sha256_file, write_json, write_text
from ida_rd.core.methods import SECTION
from ida_rd.core.project import Branch, Project
from ida_rd.core.seeds import generator
from ida_rd.core.temporary import run_files

__all__ = ["Rerun", "rerun"]

TIME_LIMIT_S = 3600.0
SHARE_OF_MEMORY = 0.8  # of what is free
POLL_S = 0.2
LAST_BYTES = 4096


@dataclass
class Rerun:
    """What came out.

    Attributes
    ----------
    seed : int
        Of the draw: the same one draws the same branches of this bundle.
    branches : list of Branched
        Those that were computed again.
    left_out : dict
        Branches and distortions that cannot be computed here, by name, and why.
    missing : int
        How many branches fewer than were asked for.
    unseen : list of str
        Upscalers and factors of which no branch was drawn.
    """

    seed: int
    branches: list[Branched] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    unseen: list[str] = field(default_factory=list)


def rerun(
    checked: Verified,
    count: int,
    *,
    seed: int | None = None,
    files: Mapping[str, Path] | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit: int | None = None,
) -> Rerun:
    """Compute a random choice of branches again from the images, and compare sample by sample.

    Parameters
    ----------
    checked : Verified
        What `ida_rd.bundle.verify.verify` has accepted.
    count : int
        How many branches: each upscaler and factor is drawn from in turn.
    seed : int, optional
        Of the draw; default: the system's randomness, which no publisher can foresee.
    files : mapping, optional
        Files of whoever verifies in the place of the publisher's, by their key in ``params.yaml``: the HR images are
        ``images.path``.
    time_limit_s : float
        Of all the work.
    memory_limit : int, optional
        Bytes that its processes may use together; default: most of what is free.

    Raises
    ------
    Refused
        A difference beyond the tolerance, or another test set.
    UserError
        Nothing can be run here, and why; or a limit was reached.
    """
    files = dict(files or {})
    parameters, vouched = with_own_files(checked.parameters.model_dump(mode="json"), files)
    _refuse_foreign_data(parameters, vouched)
    left_out = _left_out(checked, parameters, vouched)
    names = [name for name in checked.results.distortion_order if name not in left_out]
    if not names:
        raise UserError(f"verify: no distortion can be computed here: {_why(left_out)}")
    possible = [record.branch for record in checked.results.branches if record.branch.title not in left_out]
    if not possible:
        raise UserError(f"verify: no branch can be computed here: {_why(left_out)}")
    drawn = secrets.randbits(32) if seed is None else seed
    chosen, unseen = _draw(possible, count, drawn)
    found = Rerun(drawn, left_out=left_out, missing=max(0, count - len(chosen)), unseen=unseen)
    parameters |= {
        "downscalers": _only(parameters["downscalers"], {b.downscaler for b in chosen}),
        "upscalers": _only(parameters["upscalers"], {b.upscaler for b in chosen}),
        "adapted": {},
        "ladder": [],  # its rungs are downscalers like others
        "distortions": _only(parameters["distortions"], set(names)),
        "primary": None,  # it may not be among them
        # What was chosen must run: a note that it cannot is not a result.
        "missing_software": "error",
        "missing_weights": "error",
    }
    with run_files() as work:
        project = Project(work)
        write_text(project.parameters, yaml.safe_dump(parameters, sort_keys=False, allow_unicode=True))
        write_json(project.root / "branches.json", [branch.record() for branch in chosen])
        write_json(project.root / "version.json", checked.results.schema_version)
        if memory_limit is None:
            memory_limit = int(SHARE_OF_MEMORY * psutil.virtual_memory().available)
        with tqdm(total=len(chosen), desc="branches", unit="branch", disable=not sys.stderr.isatty()) as bar:
            _run(project, chosen, bar, time_limit_s, memory_limit)
        if sha256_file(project.subset) != checked.results.dataset_sha256:
            raise refusal(checked.bundle.root, ["these images give another test set; name the publisher's by --images"])
        found.branches, problems = compare(checked, project, chosen, names)
    if problems:
        raise refusal(checked.bundle.root, problems)
    return found


def _refuse_foreign_data(parameters: Mapping[str, Any], vouched: Mapping[str, Path]) -> None:
    """The images and the attributes must be those of whoever verifies."""
    images = parameters["images"]
    if images["source"] == "folder" and IMAGES not in vouched:
        raise UserError(
            f"verify: the HR images were in a folder of the publisher's ({images['path']}): name yours by --images"
        )
    attributes = parameters["attributes"]
    source = attributes["source"]
    problems: list[str] = []
    for name in dict.fromkeys([source] if isinstance(source, str) else source.values()):
        entry = {"method": name, **(attributes.get(name) or {})}
        problems += objections("attributes", f"attributes.{name}", entry, vouched)
    if problems:
        raise UserError("verify: the test set cannot be chosen again: " + "; ".join(problems))


def _left_out(checked: Verified, parameters: Mapping[str, Any], vouched: Mapping[str, Path]) -> dict[str, str]:
    """Why branches and distortions may not run here: branches by their title, distortions by their name."""
    found: dict[tuple[str, str], str] = {}
    for stage in ("downscale", "upscale", "distort"):
        for name, entry in parameters[SECTION[stage]].items():
            if problems := objections(stage, f"{SECTION[stage]}.{name}", entry, vouched):
                found[stage, name] = "; ".join(problems)
    left = {name: why for (stage, name), why in found.items() if stage == "distort"}
    for name in parameters.get("adapted", {}):
        found["upscale", name] = f"adapted.{name}: its weights are not in the bundle"
    for record in checked.results.branches:
        branch = record.branch
        reasons = [found.get(("downscale", branch.downscaler)), found.get(("upscale", branch.upscaler))]
        if any(reasons):
            left[branch.title] = "; ".join(filter(None, reasons))
    return left


def _why(left_out: Mapping[str, str]) -> str:
    return printable("; ".join(dict.fromkeys(left_out.values())))


def _draw(possible: Sequence[Branch], count: int, seed: int) -> tuple[list[Branch], list[str]]:
    """Draw branches, from each upscaler and factor in turn; and name those that were not drawn from."""
    rng = generator("verify", seed, len(possible))
    sections: dict[str, list[Branch]] = {}
    for branch in possible:
        sections.setdefault(f"{branch.upscaler} x{branch.factor}", []).append(branch)
    names = [list(sections)[i] for i in rng.permutation(len(sections))]
    shuffled = {name: [sections[name][i] for i in rng.permutation(len(sections[name]))] for name in names}
    chosen: list[Branch] = []
    for turn in range(len(possible)):
        for name in names:
            if turn < len(shuffled[name]) and len(chosen) < count:
                chosen.append(shuffled[name][turn])
    seen = {f"{branch.upscaler} x{branch.factor}" for branch in chosen}
    return sorted(chosen, key=list(possible).index), [name for name in sections if name not in seen]


def _only(section: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: entry for name, entry in section.items() if name in names}


def _run(project: Project, chosen: Sequence[Branch], bar: Any, time_limit_s: float, memory_limit: int) -> None:
    """Run `ida_rd.bundle.again` in the project's folder, and end it when it takes too long or too much."""
    variables = os.environ | {"IDA_RD_OFFLINE": "1", "PYTHONSAFEPATH": "1", "TMPDIR": str(project.root / "tmp")}
    (project.root / "tmp").mkdir()
    end = time.monotonic() + time_limit_s
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "ida_rd.bundle.again"],
            cwd=project.root,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,
        )
        with started(process.pid):  # it is stopped at the end, with all that it started
            while process.poll() is None:
                time.sleep(POLL_S)
                bar.update(sum(project.rows_of(branch).is_file() for branch in chosen) - bar.n)
                if time.monotonic() > end:
                    raise UserError(
                        f"verify: computing the branches again took more than {time_limit_s:g} s and was stopped:"
                        " choose fewer, or a longer --time-limit"
                    )
                if (used := _memory(process.pid)) > memory_limit:
                    raise UserError(
                        f"verify: computing the branches again took {used / 2**30:.1f} GiB of memory, more than"
                        f" {memory_limit / 2**30:.1f}, and was stopped: allow more by --memory-limit"
                    )
        process.wait()
        messages.seek(max(0, messages.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = messages.read().decode(errors="replace").strip().splitlines()
    if process.returncode:
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        last = (
            said[-1] if said else f"verify: the branches could not be computed again ({(lines or ['no message'])[-1]})"
        )
        raise UserError(printable(last))


def _memory(process: int) -> int:
    """Bytes that a process and those that it started use."""
    total = 0
    with suppress(psutil.Error):
        parent = psutil.Process(process)
        for one in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.Error):
                total += one.memory_info().rss
    return total
