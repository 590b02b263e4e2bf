"""The graph of a decoder's slice with paged KV: its inputs in order, their shapes, and its conversion to OpenVINO.

Knows neither files nor devices, nor how attention is realised (`openvino_paged.py`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from hetero.backends.openvino_paged import SHARED_INPUTS, paged_markers
from hetero.backends.openvino_tracing import convert_traced
from hetero.models.config import DecoderConfig
from hetero.models.decoder import DecoderBlocks, DecoderHead

#: What the example that is traced has; conversion leaves these dimensions open.
_EXAMPLE_TOKENS = 3


class DecoderStage(nn.Module):
    """Blocks, and the head on the sampled rows where the slice ends in it, with the graph's inputs in one flat list.

    Hidden states stay [T, D]; with a third dimension the CPU's plugin recognises gated MLPs (`openvino_gated.py`).
    """

    def __init__(self, config: DecoderConfig, blocks: DecoderBlocks, head: DecoderHead | None) -> None:
        super().__init__()
        self.config, self.blocks, self.head = config, blocks, head
        rotary = ("cos", "sin") if config.positions == "rotary" else ()
        rows = ("sample_rows",) if head is not None else ()
        self.step_inputs = ("hidden", *rotary, *SHARED_INPUTS, *rows)

    @property
    def cache_count(self) -> int:
        return 2 * len(self.blocks.blocks)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs in the order of `step_inputs`, then each block's key and value cache. Returns [T, D], or [R, V]."""
        caches = inputs[len(self.step_inputs) :]
        step = dict(zip(self.step_inputs, inputs, strict=False))
        nothing = torch.zeros(0)
        hidden: Tensor
        hidden, _ = self.blocks(
            step["hidden"],
            step.get("cos", nothing),
            step.get("sin", nothing),
            [caches[i : i + 2] for i in range(0, len(caches), 2)],
            [step[name] for name in SHARED_INPUTS],
        )
        if self.head is None:
            return hidden
        logits: Tensor = self.head(hidden.index_select(0, step["sample_rows"]))
        return logits


def convert_decoder(stage: DecoderStage) -> Any:
    """The slice as an OpenVINO model. Its caches' types and shapes are open: the plugin chooses them as it compiles."""
    import openvino as ov

    model = convert_traced(stage, _example(stage), paged_markers(stage))
    parameters = model.get_parameters()
    for parameter, value in zip(parameters, _example(stage), strict=True):
        parameter.set_partial_shape(ov.PartialShape([-1, *value.shape[1:]] if value.ndim else []))
    for parameter in parameters[len(stage.step_inputs) :]:
        parameter.set_partial_shape(ov.PartialShape([-1] * 4))
        parameter.set_element_type(ov.Type.dynamic)
    model.validate_nodes_and_infer_types()
    return model


def _example(stage: DecoderStage) -> tuple[Tensor, ...]:
    config, tokens = stage.config, _EXAMPLE_TOKENS
    angles = torch.zeros(tokens, config.head_size)
    step = {
        "hidden": torch.zeros(tokens, config.hidden_size),
        "cos": angles,
        "sin": angles.clone(),
        "past_lens": _integers(0),
        "begins": _integers(0, tokens),
        "block_indices": _integers(0),
        "block_begins": _integers(0, 1),
        "longest": torch.tensor(tokens, dtype=torch.int32),
        "sample_rows": torch.tensor([tokens - 1]),
    }
    cache = (1, config.kv_head_count, 32, config.head_size)
    return (*(step[name] for name in stage.step_inputs), *(torch.zeros(cache) for _ in range(stage.cache_count)))


def _integers(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)
