"""Which devices a setting names, on lists of GPUs that are made up: there may be none here."""

from __future__ import annotations

import pytest

from ida_rd.core.errors import UserError
from ida_rd.engine.device import assigned


@pytest.mark.parametrize(
    ("setting", "gpus", "found"),
    [
        ("", 0, ["cpu"]),
        ("auto", 0, ["cpu"]),
        ("auto", 1, ["cuda"]),
        ("auto", 3, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cpu", 4, ["cpu"]),
        ("cuda:1", 2, ["cuda:1"]),
        (" cuda:0, cuda:2 ", 3, ["cuda:0", "cuda:2"]),
    ],
)
def test_one_process_per_gpu(setting: str, gpus: int, found: list[str]) -> None:
    assert assigned(setting, gpus) == found


@pytest.mark.parametrize(
    ("setting", "gpus", "says"),
    [
        ("cuda", 0, "no such device"),
        ("cuda:2", 2, "no such device"),
        ("cuda:0,cuda:2", 2, "no such device"),
        ("cuda:0,cuda", 2, "twice"),
        ("cpu,cuda:0", 1, "use auto, cpu, cuda"),
        ("gpu", 1, "use auto, cpu, cuda"),
        ("cuda:", 1, "use auto, cpu, cuda"),
    ],
)
def test_a_device_that_is_not_here_is_a_line(setting: str, gpus: int, says: str) -> None:
    with pytest.raises(UserError, match=rf"^IDA_RD_DEVICE is '.*{says}"):
        assigned(setting, gpus)
