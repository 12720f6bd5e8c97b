"""A test set with an image without structure is published and verified like any other."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import run
from PIL import Image

from ida_rd.bundle.folder import SUMS
from ida_rd.bundle.verify import verify
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file, write_json
from ida_rd.core.readers import read_json


@pytest.mark.slow
def test_the_mark_follows_from_the_test_set_of_the_bundle(repository: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "white").save(repository / "photos" / "photo-2.png")
    run("dvc", "repro", "--force", "--single-item", "plan", cwd=repository)
    run("dvc", "repro", cwd=repository)
    run("git", "add", "--all", cwd=repository)
    run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "first", cwd=repository)
    run("python", "-m", "ida_rd.commands", "publish", str(tmp_path / "bundle"), cwd=repository)
    bundle = tmp_path / "bundle"
    assert "1 of the 4 images is nearly of one colour" in (bundle / "README.md").read_text()
    verify(bundle)
    # Another image is given the mark, and the hashes that say so: the tables do not follow.
    table = pd.read_csv(bundle / "subset.csv")
    table["without_structure"] = ~table.without_structure
    table.to_csv(bundle / "subset.csv", index=False)
    found = read_json(bundle / "results.json", hint="")
    write_json(bundle / "results.json", found | {"dataset_sha256": sha256_file(bundle / "subset.csv")})
    lines = (bundle / SUMS).read_text().splitlines()
    (bundle / SUMS).write_text(
        "".join(f"{sha256_file(bundle / name)}  {name}\n" for name in (line.split("  ")[1] for line in lines))
    )
    with pytest.raises(UserError, match=r"tables/images\.csv: line 2, without_structure is False"):
        verify(bundle)
