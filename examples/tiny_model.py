"""The shape of the embedded model `tiny`, and its exits: what the shared norm and head predict after inner blocks.

Knows neither text nor training.
"""

import torch
from tiny_text import VOCABULARY
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

CONTEXT = 512
EXITS = {2: 0.3, 4: 0.5, 6: 1.0}  # after so many blocks: weight in the loss


def new_model() -> LlamaForCausalLM:
    """5.8 million weights; head size 64 and widths in multiples of 64 suit every engine."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=max(EXITS),
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def exit_logits(model: LlamaForCausalLM, tokens: Tensor, stride: int = 1) -> dict[int, Tensor]:
    """Logits [B, T, V] of each exit from token ids [B, T]; inner exits only at every `stride`-th position."""
    hidden = model.model(tokens, output_hidden_states=True, use_cache=False).hidden_states
    last = max(EXITS)  # the last of the hidden states has gone through the norm already
    inner = {e: model.lm_head(model.model.norm(hidden[e][:, ::stride])) for e in EXITS if e != last}
    return inner | {last: model.lm_head(hidden[last])}
