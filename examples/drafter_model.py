"""A model whose first blocks draft for its others: the embedded model, grown in width and depth. Knows no text.

Growing keeps what the model computes (Chen et al. 2016, "Net2Net", https://arxiv.org/abs/1511.05641), so that little
training is needed: every hidden number stands twice, every matrix reads half of each copy, give or take a noise that
cancels out and lets the copies part, and new blocks end in zeros.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, nll_loss
from transformers import LlamaConfig, LlamaForCausalLM

#: Blocks up to the exit that drafts, and in all: 52 million weights, of which a draft reads 15.
EXIT, BLOCKS = 4, 16
#: Weights of the exit's losses beside the last layer's own: against the text, and against the last layer.
EXIT_TEXT, EXIT_DISTILLED = 0.3, 0.7
#: Of what the copies differ by, against the matrix's own deviation.
_NOISE = 0.5
_ZERO = ("self_attn.o_proj.weight", "mlp.down_proj.weight")


def new_model(like: LlamaConfig) -> LlamaForCausalLM:
    """Twice as wide as `like`, with BLOCKS blocks; head size and vocabulary stay."""
    torch.manual_seed(0)
    values = like.to_dict() | {
        "hidden_size": 2 * like.hidden_size,
        "intermediate_size": 2 * like.intermediate_size,
        "num_attention_heads": 2 * like.num_attention_heads,
        "num_key_value_heads": 2 * (like.num_key_value_heads or like.num_attention_heads),
        "num_hidden_layers": BLOCKS,
    }
    model = LlamaForCausalLM(LlamaConfig(**values))
    torch.nn.Module.float(model)
    return model


def grown(small: LlamaForCausalLM) -> LlamaForCausalLM:
    """A larger model that computes what `small` does, at every depth up to EXIT and at its end."""
    large = new_model(small.config)
    blocks = dict(zip(_places(len(small.model.layers)), small.model.layers, strict=True))
    with torch.no_grad():
        large.model.embed_tokens.weight.copy_(small.model.embed_tokens.weight.repeat(1, 2))
        large.model.norm.weight.copy_(small.model.norm.weight.repeat(2) / 2)  # the head reads both copies
        for place, block in enumerate(large.model.layers):
            known = dict(blocks[place].named_parameters()) if place in blocks else {}
            for name, weight in block.named_parameters():
                if known:
                    weight.copy_(_twice(known[name]))
                elif name in _ZERO:
                    weight.zero_()
    return large


def _places(count: int) -> list[int]:
    """Where the small model's blocks go: up to the exit as they are, the others evenly among new ones."""
    later = range(count - EXIT)
    return [*range(EXIT), *(EXIT + index * (BLOCKS - EXIT) // len(later) for index in later)]


def _twice(weight: Tensor) -> Tensor:
    if weight.ndim == 1:
        return weight.repeat(2)
    halves = weight.repeat(2, 1) / 2
    noise = torch.randn_like(halves) * halves.std() * _NOISE
    return torch.cat([halves + noise, halves - noise], dim=1)


def exit_and_last(model: LlamaForCausalLM, tokens: Tensor, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Logits [B, T, V] of the exit at every `stride`-th position, and of the last block, from token ids [B, T]."""
    hidden = model.model(tokens, output_hidden_states=True, use_cache=False).hidden_states
    # The last of the hidden states has gone through the norm already.
    return model.lm_head(model.model.norm(hidden[EXIT][:, ::stride])), model.lm_head(hidden[-1])


def training_loss(model: LlamaForCausalLM, window: Tensor) -> Tensor:
    """Cross entropy of the last block, plus the exit's and its divergence from the last block's; ids [B, T + 1].

    The exit counts at every second position: windows start anywhere, so none is left out.
    """
    with torch.autocast("cpu", torch.bfloat16):
        inner, last = exit_and_last(model, window[:, :-1], stride=2)
    loss = cross_entropy(last.float().flatten(0, 1), window[:, 1:].flatten())
    said = log_softmax(inner.float().flatten(0, 1), dim=-1)
    taught = log_softmax(last[:, ::2].detach().float().flatten(0, 1), dim=-1)
    text = nll_loss(said, window[:, 1::2].flatten())
    return loss + EXIT_TEXT * text + EXIT_DISTILLED * kl_div(said, taught, reduction="batchmean", log_target=True)
