"""What a small bundle may cost before it is refused."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from conftest import run

from ida_rd.bundle.publish import write_checksums

GOLDEN = Path(__file__).parent / "golden/0.1.0"
MEASURE = """
import sys, time
from pathlib import Path
from ida_rd.bundle.verify import verify
from ida_rd.core.errors import UserError
start = time.process_time()
try:
    verify(Path(sys.argv[1]))
except UserError as error:
    lines = open("/proc/self/status").read().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    print(peak, time.process_time() - start, error, sep=chr(9))
"""


@pytest.mark.parametrize("aliases", [False, True])
def test_a_small_file_of_parameters_that_stands_for_much_costs_little(tmp_path: Path, aliases: bool) -> None:
    """Thousands of branches, each of whose recipes repeats a long text."""
    bundle = Path(shutil.copytree(GOLDEN, tmp_path / "bundle"))
    text = "x" * (1000 if aliases else 100_000)
    arguments = ", ".join(f"a{i}: *s" for i in range(5000)) if aliases else "a: *s"
    names = "".join(f"  d{i}: {{method: resample, filter: box}}\n" for i in range(900))
    lines = (bundle / "params.yaml").read_text().replace("downscalers:\n", f"downscalers:\n{names}", 1)
    lines = lines.replace(
        "function: stages.downscale.mine.halve_twice}", f"function: a.b, arguments: {{s: &s {text}, {arguments}}}}}"
    )
    lines = lines.replace("factors: [4]", "factors: [4, 8, 16, 32, 64]")
    more = "".join(f"  u{i}: {{method: flow, heat: 0.{i + 1}}}\n" for i in range(3))
    lines = lines.replace("upscalers:\n", f"upscalers:\n{more}", 1)
    assert len(lines) < 200_000
    (bundle / "params.yaml").write_text(lines)
    write_checksums(bundle)
    done = run(sys.executable, "-c", MEASURE, str(bundle), cwd=bundle.parent)
    peak, seconds, said = done.stdout.strip().split("\t")
    assert "params.yaml: 18,040 branches" in said
    assert int(peak) < 500_000
    assert float(seconds) < 10, seconds  # of CPU
