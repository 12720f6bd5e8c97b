"""A training that resumes refuses other photographs, and reads no unchanged one again to know that."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_photos import held_out, write_photos

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.training.loop import Loop, Product, Stage
from ida_rd.training.photographs import PHOTOGRAPHS, Photographs
from ida_rd.training.start import Training, run

opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


class _Step(Training):
    """Of a training that looks at no photograph: whatever opens one is `run`."""

    def __init__(self, out: Path, steps: int) -> None:
        net, self.steps = nn.Linear(2, 1), steps
        optimisers = {"net": torch.optim.Adam(net.parameters())}
        product = Product("net", "only", {})
        self.loop = Loop(out, {"net": net}, optimisers, product, {"seed": 0}, averaged=["net"], decay=0.9, clip_norm=1)

    def stages(self) -> list[Stage]:
        step = lambda i: {"norm": self.loop.descend("net", self.loop.modules["net"](torch.ones(1, 2)).sum(), 0.1)}  # noqa: E731
        return [Stage("only", self.steps, step)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photographs that were written an hour ago, as far as their times say."""
    folder = write_photos(tmp_path / "photos")
    held_out(folder)
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    time.sleep(2.1)  # their times of change cannot be set
    return folder


def _run(photos: Path, steps: int = 1, **options: Any) -> list[str]:
    """Begin or resume; return the photographs that were opened."""
    opened.clear()
    out = photos.parent / "run"
    run(lambda *_: _Step(out, steps), photos, held_out(photos), out, save_every=1, **options)
    return sorted({Path(name).name for name in opened if Path(name).parent == photos})


def test_an_untouched_folder_is_not_read_again(photos: Path) -> None:
    assert _run(photos) == ["t0.png", "t1.png"]
    record = (photos.parent / "run/training.json").read_bytes()
    assert _run(photos, 2) == []
    assert (photos.parent / "run/training.json").read_bytes() == record
    (photos / "t1.png").touch()
    assert _run(photos, 3) == ["t1.png"], "the same content at another time is read, and resumes"
    assert _run(photos, 4) == ["t1.png"], "touched a moment ago"
    rows = [f"{path.name},CC0,{sha256_file(path)}" for path in sorted(photos.iterdir())]
    (photos / "LICENSES.csv").write_text("\n".join(["file,licence,sha256", *rows]))
    shutil.copyfile(photos / "t0.png", photos.parent / "held-out/t0.png")
    time.sleep(2.1)
    _run_refused = pytest.raises(UserError, match=r"t0\.png is the training photograph")
    with _run_refused:
        _run(photos, 5)
    assert not [name for name in opened if name.endswith("photos/t0.png")], "what the others ask is remembered too"


def test_a_run_that_resumes_refuses_other_photographs_in_a_line(photos: Path) -> None:
    _run(photos)
    own, other = (photos / f"t{i}.png" for i in range(2))
    content, times = own.read_bytes(), own.stat()

    def as_if_at_the_same_time() -> None:
        own.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(own, ns=(times.st_atime_ns, times.st_mtime_ns))

    changes = {
        "content": lambda: own.write_bytes(content[:-1] + bytes([content[-1] ^ 1])),
        "content, as if at the same time": as_if_at_the_same_time,
        "fewer": own.unlink,
        "more": lambda: shutil.copyfile(own, photos / "t2.png"),
        "others' names": lambda: own.write_bytes(other.read_bytes()),
    }
    for name, change in changes.items():
        change()
        with pytest.raises(UserError, match=r"belongs to a run with other photographs \(t[02]\.png\): give") as error:
            _run(photos, 2)
        assert "\n" not in str(error.value), name
        own.write_bytes(content)
        (photos / "t2.png").unlink(missing_ok=True)
    _run(photos, 2)


def test_a_run_without_a_checkpoint_or_of_an_earlier_version_begins_with_any(photos: Path) -> None:
    out = photos.parent / "run"
    _run(photos)
    (out / PHOTOGRAPHS).unlink()
    (photos / "t1.png").unlink()
    _run(photos, 2)
    assert Photographs(out)._before.keys() == {"t0.png"}
    (out / "checkpoint.pt").unlink()
    write_photos(photos)
    _run(photos)
    for text in ("[1]", '{"t0.png": 3}', "{"):
        (out / PHOTOGRAPHS).write_text(text)
        with pytest.raises(UserError, match=r"photographs\.json[: ]") as error:
            _run(photos, 2)
        assert "\n" not in str(error.value)
