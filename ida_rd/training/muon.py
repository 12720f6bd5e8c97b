"""Muon: steepest descent for matrices in the spectral norm [1]_, on the weights of convolutions.

References
----------
.. [1] Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonalised"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the iteration, as published


def orthogonalised(matrices: Tensor, iterations: int) -> Tensor:
    """Matrices (N, rows, columns) with singular values brought near 1, by a Newton-Schulz iteration in bfloat16."""
    a, b, c = COEFFICIENTS
    x = matrices.to(torch.bfloat16)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (torch.linalg.vector_norm(x.float(), dim=(1, 2), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum (Nesterov's), orthogonalised; each weight is a matrix of its first dimension by all others.

    Parameters
    ----------
    params : iterable of Parameter
        Of two dimensions or more.
    lr : float
        Learning rate.
    momentum, decay : float
        Of the gradient's average; of the weights, per step and unit of learning rate.
    iterations : int
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.02,
        momentum: float = 0.95,
        decay: float = 0.02,
        iterations: int = 4,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay, "iterations": iterations})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step down the gradients."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state: dict[str, Any] = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(average, group["momentum"])
                matrix = update.reshape(len(weight), -1)
                alike[matrix.shape[0], matrix.shape[1]].append((weight, matrix))
            for (rows, columns), pairs in alike.items():  # matrices of a shape go together, which is faster
                found = orthogonalised(torch.stack([matrix for _, matrix in pairs]), group["iterations"])
                size = max(1.0, rows / columns) ** 0.5
                for (weight, _), update in zip(pairs, found, strict=True):
                    weight.mul_(1 - group["lr"] * group["decay"])
                    weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * size)
