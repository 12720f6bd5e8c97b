"""Where a run keeps its files: the one place that knows the paths of ``data/`` and ``metrics/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Branch", "Project"]


@dataclass(frozen=True)
class Branch:
    """An upscaler, a factor and a downscaler: one row of the tables.

    Attributes
    ----------
    upscaler, downscaler : str
        Names in ``params.yaml``.
    factor : int
        Scale factor.
    """

    upscaler: str
    factor: int
    downscaler: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Branch:
        """The branch that a recipe or a published result names."""
        return cls(record["upscaler"], int(record["factor"]), record["downscaler"])

    @property
    def path(self) -> str:
        """Its place below ``data/sr`` and ``data/distortion``."""
        return f"{self.upscaler}/x{self.factor}/{self.downscaler}"

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"{self.upscaler} x{self.factor} {self.downscaler}"

    def record(self) -> dict[str, Any]:
        """Its names and its path, for a recipe."""
        return asdict(self) | {"path": self.path}


@dataclass(frozen=True)
class Project:
    """A folder in which a run lives: the repository's root, an experiment, or a temporary one.

    Attributes
    ----------
    root : Path
        Folder of ``params.yaml``.
    """

    root: Path = Path()

    @property
    def parameters(self) -> Path:
        return self.root / "params.yaml"

    @property
    def plan(self) -> Path:
        return self.root / "data/plan"

    @property
    def attributes(self) -> Path:
        return self.root / "data/attributes.csv"

    @property
    def subset(self) -> Path:
        return self.root / "data/subset.csv"

    @property
    def hr(self) -> Path:
        return self.root / "data/hr"

    @property
    def lr(self) -> Path:
        return self.root / "data/lr"

    @property
    def sr(self) -> Path:
        return self.root / "data/sr"

    @property
    def distortion(self) -> Path:
        return self.root / "data/distortion"

    @property
    def surprise(self) -> Path:
        """Table of how far decoders are from home; what computed it lies beside it, as ``.json``."""
        return self.root / "data/surprise.csv"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics"

    @property
    def tables(self) -> Path:
        return self.root / "metrics/tables"

    @property
    def plots(self) -> Path:
        return self.root / "metrics/plots"

    @property
    def page(self) -> Path:
        return self.root / "metrics/report"

    @property
    def state(self) -> Path:
        """What a run keeps for later runs: finished units, hashes. It can be removed at any time."""
        return self.root / ".ida-rd"

    @property
    def times(self) -> Path:
        """What finished units took, a line per call of a stage: no output, see `ida_rd.engine.times`."""
        return self.state / "times.jsonl"

    def lr_of(self, downscaler: str, factor: int) -> Path:
        """Folder of a downscaler's LR images."""
        return self.lr / f"x{factor}" / downscaler

    def adapted_of(self, branch: Branch) -> Path:
        """Weights adapted for a branch; their record and card lie beside them, as ``.json`` and ``.md``."""
        return self.root / f"data/adapt/x{branch.factor}/{branch.upscaler}/{branch.downscaler}.safetensors"

    def sr_of(self, branch: Branch) -> Path:
        """Folder of a branch's SR images."""
        return self.sr / branch.path

    def rows_of(self, branch: Branch) -> Path:
        """Table of a branch's distances; its environment lies beside it, as ``.json``."""
        return self.distortion / f"{branch.path}.csv"
