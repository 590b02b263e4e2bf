"""The precisions of ONNX Runtime's slices as numpy and torch name them. Knows names, not who computes what."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Precision:
    """One arithmetic: its name in a plan, and the types of its arrays and weights."""

    name: str
    array: np.dtype[Any]
    weights: torch.dtype


PRECISIONS = {
    "fp32": Precision("fp32", np.dtype(np.float32), torch.float32),
    "fp16": Precision("fp16", np.dtype(np.float16), torch.float16),
}
