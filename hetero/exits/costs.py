"""What looking at an exit costs, in units of one block: the head, the pooling and the decision, measured here.

Knows heads and blocks on this processor; an engine's blocks may be faster, by which the share is then larger.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from hetero.exits.heads import cosine, pool
from hetero.exits.storage import load_heads, read_card
from hetero.models.config import EncoderConfig
from hetero.models.config_reader import read_config
from hetero.models.loading import load_encoder_blocks

_ROWS, _LENGTH, _TIMES = 8, 32, 25


@lru_cache(maxsize=8)
def head_cost_blocks(folder: Path) -> float:
    """Seconds of one exit over seconds of one block, for a batch of eight texts of 32 tokens; the least of several."""
    config = read_config(folder)
    assert isinstance(config, EncoderConfig)
    from threadpoolctl import threadpool_limits

    (head,) = load_heads(folder, config, read_card(folder).depths[:1])
    block = load_encoder_blocks(folder, config, 0, 1, torch.float32)
    hidden = np.ones((_ROWS, _LENGTH, config.hidden_size), np.float32)
    mask = np.ones((_ROWS, _LENGTH), np.int64)

    def look() -> None:
        pooled = pool(hidden, mask)
        head.logits(pooled)
        cosine(pooled, pooled)

    def compute() -> None:
        with torch.inference_mode():
            block(torch.from_numpy(hidden), torch.zeros(_ROWS, 1, 1, _LENGTH))

    with threadpool_limits(1):
        return _least_seconds(look) / _least_seconds(compute)


def _least_seconds(run: Callable[[], None]) -> float:
    """Of the processor, not of the clock: what else runs on the machine must not decide which exits are kept."""
    found = []
    for _ in range(_TIMES):
        begun = time.process_time()
        run()
        found.append(time.process_time() - begun)
    return min(found)
