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

Name = Literal["irn", "irn-plus", "firn", "firn-plus"]


class Network(Base):
    """The network, which downscaler and decoder share."""

    weights: Name | None = Field(default=None, description="a published network; null: your own, in `path`")
    path: str | None = Field(
        default=None,
        description="file of the network; {factor} in it becomes the scale factor; null: torch's cache is looked into",
    )
    licence: str = Field(default="the file's", description="terms of your own network, as the results will state them")

    def terms(self) -> str:
        """Licence of the network."""
        if self.weights is None:
            return self.licence
        # All factors of a network have the same terms: a test holds it.
        return next(one.licence for key, one in catalogue().items() if key.startswith(f"{self.weights}.x"))


def weight_of(network: Network, factor: int) -> dict[str, str | None]:
    """The catalogue's id of a published network for a factor, with the user's path to it; nothing for their own.

    Raises
    ------
    UserError
        There is none for that factor, or neither a name nor a path was given.
    """
    if network.weights is None:
        if network.path is None:
            names = ", ".join(get_args(Name))
            raise UserError(f"path: is missing: give the file of a network, or weights: one of {names}")
        if factor not in FACTORS:
            raise UserError(f"factor {factor}: IRN halves the sides: its factors are {', '.join(map(str, FACTORS))}")
        return {}
    prefix = f"{network.weights}.x"
    known = sorted(int(key.removeprefix(prefix)) for key in catalogue() if key.startswith(prefix))
    if factor not in known:
        raise UserError(f"factor {factor}: {network.weights} is published for {', '.join(map(str, known))}")
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
