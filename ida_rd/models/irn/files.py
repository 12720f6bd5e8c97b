"""Which network a downscaler or its decoder is given: a published one by its name, or the user's own by its file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.weights import MissingWeights, catalogue, locate
from ida_rd.models.irn.config import FACTORS
from ida_rd.models.irn.layout import check_factor

__all__ = ["Network", "check_file", "own_file", "weight_of"]

Name = Literal["irn-sigma", "irn", "irn-plus", "firn", "firn-plus"]
SHIPPED: Name = "irn-sigma"  # trained in experiments/train-irn, whose last step puts it here and into the catalogue


class Network(Base):
    """The network, which downscaler and decoder share."""

    weights: Name | None = Field(
        default=None,
        description="irn-sigma: the small network of this project; others: a published one; null: your own, in `path`,"
        " or without a path irn-sigma",
    )
    path: str | None = Field(
        default=None,
        description="file of the network; {factor} in it becomes the scale factor; null: what ships, or torch's cache",
    )
    licence: str = Field(default="the file's", description="terms of your own network, as the results will state them")

    def name(self) -> Name | None:
        """The network of the catalogue that is meant; None: the user's own."""
        return self.weights or (SHIPPED if self.path is None else None)

    def terms(self) -> str:
        """Licence of the network; nothing of one that the catalogue has not."""
        if (name := self.name()) is None:
            return self.licence
        # All factors of a network have the same terms: a test holds it.
        return next((one.licence for key, one in catalogue().items() if key.startswith(f"{name}.x")), "")


def weight_of(network: Network, factor: int) -> dict[str, str | None]:
    """The catalogue's id of a published network for a factor, with the user's path to it; nothing for their own.

    Raises
    ------
    UserError
        There is none for that factor, or neither a name nor a path was given and none ships.
    """
    if (name := network.name()) is None:
        if factor not in FACTORS:
            raise UserError(f"factor {factor}: IRN halves the sides: its factors are {', '.join(map(str, FACTORS))}")
        return {}
    prefix = f"{name}.x"
    known = sorted(int(key.removeprefix(prefix)) for key in catalogue() if key.startswith(prefix))
    if not known:
        names = ", ".join(other for other in get_args(Name) if other != SHIPPED)
        raise UserError(
            f"path: is missing: give the file of a network, or weights: one of {names} ({SHIPPED} is not part of this"
            " version: experiments/train-irn trains it)"
        )
    if factor not in known:
        how = "ships" if name == SHIPPED else "is published"
        raise UserError(f"factor {factor}: {name} {how} for {', '.join(map(str, known))}")
    return {f"{prefix}{factor}": _path(network, factor)}


def own_file(network: Network, factor: int) -> Path:
    """The user's own file for a factor."""
    path = Path(str(_path(network, factor))).expanduser()
    if not path.is_file():
        raise UserError(f"path: {path} does not exist: give the file of a network")
    return path


def check_file(network: Network, factor: int) -> Path | None:
    """The file of a network, if it is here; nothing is downloaded.

    Raises
    ------
    UserError
        It is for another factor, or no file of such a network.
    """
    weights = weight_of(network, factor)
    try:
        found = [locate(key, path, download=False).path for key, path in weights.items()] or [own_file(network, factor)]
    except MissingWeights:
        return None
    check_factor(found[0], factor)
    return found[0]


def _path(network: Network, factor: int) -> str | None:
    return None if network.path is None else network.path.replace("{factor}", str(factor))
