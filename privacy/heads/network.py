"""The small network that a head is while it is trained: linear, or with one hidden layer, on frozen features.

Imports torch when one is made. Knows shapes and the noise that its inputs will carry; neither data nor files.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

FloatRows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeadShape:
    """`features` numbers in, `classes` logits out; `hidden` units between, 0 for a linear head.

    With `projected` above 0 the features first pass a linear map to so many numbers: what a client computes before it
    adds noise, for noise grows with every number that is sent.
    """

    features: int
    classes: int
    hidden: int = 0
    projected: int = 0

    @property
    def inputs(self) -> int:
        """How many numbers the part behind the projection takes."""
        return self.projected or self.features


@dataclass(frozen=True, slots=True)
class InputNoise:
    """What local DP will do to the head's inputs: clip to an L2 norm, noise of this standard deviation a number."""

    clip: float
    deviation: float


def make_network(shape: HeadShape, noise: InputNoise | None) -> "torch.nn.Module":
    """The network, with small random weights; its inputs are noised in training mode alone."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.projection = torch.nn.Linear(shape.features, shape.projected) if shape.projected else None
            self.hidden = torch.nn.Linear(shape.inputs, shape.hidden) if shape.hidden else None
            self.output = torch.nn.Linear(shape.hidden or shape.inputs, shape.classes)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            if self.projection is not None:
                rows = self.projection(rows)
            if noise is not None:
                rows = _clipped(rows, noise.clip)
                if self.training:
                    rows = rows + noise.deviation * torch.randn_like(rows)
            if self.hidden is not None:
                rows = torch.relu(self.hidden(rows))
            logits: torch.Tensor = self.output(rows)
            return logits

    return Network()


def _clipped(rows: "torch.Tensor", clip: float) -> "torch.Tensor":
    norms = rows.norm(dim=1, keepdim=True)
    clipped: torch.Tensor = rows * (clip / norms.clamp(min=clip))
    return clipped


def weights_of(network: Any) -> dict[str, FloatRows]:
    """The network's arrays by name: ``output.weight`` [classes, inputs], ``output.bias``, the same of other layers."""
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}
