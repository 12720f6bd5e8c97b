"""Damaged and hostile input: mutations of bundles, images, weight files, tables and parameters, 1,000 of each.

    python benchmarks/fuzz.py [--count 1000] [--seed 0] [--bundle DIR]

Whole files are made, then bytes of them are changed, cut, doubled, put in, or exchanged for what numbers and lengths
like least; half of the bundles get checksums that fit. Every one is read as the program reads it. It must be read, or
refused in one line; nothing may be written outside the temporary folder, and a file that is refused must cost less
than 500 MB and ten seconds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from tqdm import tqdm

from ida_rd.attributes import ffhq_features, table
from ida_rd.bundle.publish import write_checksums
from ida_rd.bundle.verify import verify
from ida_rd.core.errors import UserError, printable
from ida_rd.core.images import read_image
from ida_rd.core.tables import read_table
from ida_rd.core.tensors import load_tensors
from ida_rd.plan.stage import make_recipes, read_parameters

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/bundle/golden/0.1.0"
MOST_BYTES, MOST_SECONDS = 500 * 10**6, 10.0
# What parsers like least.
WORDS = [
    b"\0",
    b"\xff" * 8,
    b"1e999",
    b"-1",
    b"NaN",
    b"99999999999999999999",
    b"../../x",
    b"[" * 2000,
    b'"',
    b"&a [*a,*a]",
    b"\n",
    b"$",
    b"=1+1",
    b"\x1b[2K",
    b"%n",
    b"null",
    b"0" * 400,
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a few changes, most often one."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at = rng.randrange(len(found) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
        elif kind == 2:
            found[at:at] = rng.choice(WORDS)
        elif kind == 3 and rng.random() < 0.3:
            del found[at:]
        elif kind == 4:
            del found[at : at + rng.randint(1, 64)]
        elif kind == 5:
            piece = found[at : at + rng.randint(1, 256)]
            found[at:at] = piece * rng.randint(1, 3)
        elif at < len(found):
            found[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(found)


def images() -> dict[str, bytes]:
    """Small images of every format and depth."""
    rng = np.random.default_rng(0)
    smooth = (np.add.outer(np.arange(24), np.arange(32))[..., None] * 4 + rng.integers(0, 9, 3)).astype(np.uint8)
    found: dict[str, bytes] = {}
    for suffix, kind, more in [
        (".png", "PNG", {}),
        (".jpg", "JPEG", {}),
        (".webp", "WEBP", {"lossless": True}),
        (".bmp", "BMP", {}),
        (".tif", "TIFF", {"compression": "tiff_deflate"}),
        (".tiff", "TIFF", {}),
        (".ppm", "PPM", {}),
    ]:
        file = io.BytesIO()
        Image.fromarray(smooth).save(file, kind, **more)
        found[f"{kind}{suffix}"] = file.getvalue()
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", exif=exif)
    found["turned.jpg"] = file.getvalue()
    import png
    import tifffile

    deep = smooth.astype(np.uint16) * 257
    file = io.BytesIO()
    png.Writer(32, 24, greyscale=False, bitdepth=16).write(file, deep.reshape(24, -1).tolist())
    found["deep.png"] = file.getvalue()
    file = io.BytesIO()
    tifffile.imwrite(file, deep, photometric="rgb", compression="zlib")
    found["deep.tif"] = file.getvalue()
    return found


def weights() -> dict[str, bytes]:
    """Weight files of the three kinds that there are."""
    state = {"body.0.weight": torch.arange(24.0).reshape(2, 3, 4), "body.0.bias": torch.zeros(2, dtype=torch.float16)}
    found = {"a.safetensors": save(state)}
    for name, modern in (("zip.pth", True), ("legacy.pth", False)):
        file = io.BytesIO()
        torch.save({"params": state}, file, _use_new_zipfile_serialization=modern)
        found[name] = file.getvalue()
    found["plain.pth"] = pickle.dumps({"a": [1, 2]})
    return found


def tables() -> dict[str, bytes]:
    """Attribute tables, and labels in a zip."""
    rows = "".join(f"photo-{i},{20 + i},label-{i % 3}\n" for i in range(20))
    found = {"table.csv": ("image_id,age,group\n" + rows).encode()}
    face = {"faceRectangle": {"width": 1, "height": 1}, "faceAttributes": {"age": 3, "gender": "female", "smile": 0.1}}
    face["faceAttributes"] |= {"glasses": "no", "headPose": {"yaw": 0, "pitch": 0, "roll": 0}}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for i in range(5):
                archive.writestr(f"{i:05d}.json", json.dumps([face] * i))
        found[f"labels-{method}.zip"] = file.getvalue()
    return found


def _read_table(path: Path) -> None:
    if path.suffix == ".csv":
        table.lookup(table.Parameters(path=str(path)))
        read_table(path, hint="")
    else:
        ffhq_features.lookup(ffhq_features.Parameters(path=str(path)))


def _plan(path: Path) -> None:
    make_recipes(read_parameters(path), download=False)


def files_of(kind: str) -> tuple[dict[str, bytes], Callable[[Path], Any]]:
    """Whole files of a kind, and what reads them."""
    if kind == "images":
        return images(), read_image
    if kind == "weights":
        return weights(), load_tensors
    if kind == "tables":
        return tables(), _read_table
    small = {
        path.as_posix().replace("/", "-"): path.read_bytes() for path in [ROOT / "params.yaml", GOLDEN / "params.yaml"]
    }
    return small, _plan


def cases(kind: str, count: int, rng: random.Random, folder: Path) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """Mutated files in `folder`, one at a time."""
    whole, read = files_of(kind)
    names = sorted(whole)
    for i in range(count):
        name = names[i % len(names)]
        path = folder / name
        path.write_bytes(mutated(whole[name], rng))
        yield path, read
        path.unlink()


def bundles(count: int, rng: random.Random, folder: Path, source: Path) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """Mutated bundles: a file's content, a file too many or too few, a link; checksums that fit, for half of them."""
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    text = [name for name in names if not name.endswith((".png", ".pdf", ".svg", ".webp"))]
    for i in range(count):
        target = folder / "bundle"
        shutil.copytree(source, target)
        path = target / rng.choice(text)
        kind = rng.randrange(12)
        if kind == 0:
            path.unlink()
        elif kind == 1:
            path.unlink()
            path.symlink_to("/etc/passwd")
        elif kind == 2:
            (path.parent / "more.csv").write_bytes(path.read_bytes())
        else:
            path.write_bytes(mutated(path.read_bytes(), rng))
        if i % 2 and path.name != "SHA256SUMS":
            _fit(target)
        yield target, verify
        shutil.rmtree(target)


def _fit(bundle: Path) -> None:
    """Checksums that fit, and the hashes of rows in results.json, where it can still be read."""
    from ida_rd.core.files import sha256_file

    results = bundle / "results.json"
    try:
        data = json.loads(results.read_text())
        for branch in data["branches"]:
            rows = bundle / f"rows/{branch['upscaler']}/x{branch['factor']}/{branch['downscaler']}.csv"
            branch["sha256"] = sha256_file(rows)
        data["dataset_sha256"] = sha256_file(bundle / "subset.csv")
        results.write_text(json.dumps(data))
    except Exception:
        pass  # the mutation hit it
    write_checksums(bundle)


def _peak() -> int:
    """Peak of resident memory in bytes, since `_forget_peak`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="mutations of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, default=GOLDEN, help="a bundle that verifies")
    options = parser.parse_args()
    bundle = options.bundle.resolve()
    os.environ["IDA_RD_OFFLINE"] = "1"
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ida-rd-fuzz-") as name:
        base = Path(name)
        work, temporary = base / "work", base / "tmp"
        work.mkdir()
        temporary.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        os.chdir(work)
        for kind in ("images", "weights", "tables", "params", "bundles"):
            rng = random.Random(f"{options.seed} {kind}")
            made = (
                bundles(options.count, rng, work, bundle)
                if kind == "bundles"
                else cases(kind, options.count, rng, work)
            )
            one = {"accepted": 0, "refused": 0, "tracebacks": 0, "left": 0, "peak_mb": 0, "slowest_s": 0.0}
            for path, read in tqdm(made, total=options.count, desc=kind, disable=not sys.stderr.isatty()):
                before = _tree(base)
                _forget_peak()
                resident, start = _peak(), time.perf_counter()
                try:
                    with contextlib.redirect_stderr(io.StringIO()):  # warnings
                        read(path)
                    one["accepted"] += 1
                except UserError as error:
                    one["refused"] += 1
                    if "\n" in printable(error):
                        raise AssertionError(f"more than a line: {error}") from None
                except BaseException:
                    one["tracebacks"] += 1
                    traceback.print_exc()
                    kept = Path(tempfile.mkdtemp(prefix="ida-rd-fuzz-found-", dir="/tmp"))
                    (shutil.copytree if path.is_dir() else shutil.copy)(path, kept / path.name)
                    print(f"kept in {kept}", file=sys.stderr)
                one["slowest_s"] = max(one["slowest_s"], round(time.perf_counter() - start, 2))
                one["peak_mb"] = max(one["peak_mb"], round((_peak() - resident) / 1e6))
                one["left"] += len(_tree(base) - before)
            figures[kind] = one
            print(f"{kind}: {one}", file=sys.stderr)
        os.chdir("/")
    figures["ok"] = all(
        one["tracebacks"] == one["left"] == 0 and one["peak_mb"] < MOST_BYTES / 1e6 and one["slowest_s"] < MOST_SECONDS
        for one in figures.values()
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
