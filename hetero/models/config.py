"""What the runtime knows of a model: plain values, read from a Hugging Face `config.json`, one type a kind of model.

Families differ by these values only; `decoder.py` and `encoder.py` hold the one definition of each kind.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Llama, Mistral, Qwen2, Qwen3 (RMS norm, rotary, gated MLP); GPT-2 (layer norm, learned positions, plain MLP)."""

    family: str
    hidden_size: int
    intermediate_size: int
    block_count: int
    head_count: int
    kv_head_count: int
    head_size: int
    vocabulary_size: int
    max_context: int
    norm: Literal["rms", "layer"]
    norm_epsilon: float
    activation: str
    gated_mlp: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    positions: Literal["rotary", "learned"]
    rope_parameters: tuple[tuple[str, object], ...]
    sliding_windows: tuple[int, ...]
    tied_head: bool
    dtype: str
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of fp16 keys and values that one block keeps for one token."""
        return 2 * 2 * self.kv_head_count * self.head_size


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """BERT, MiniLM, RoBERTa and DistilBERT; `labels` is empty where the model has no classification head."""

    family: str
    hidden_size: int
    intermediate_size: int
    block_count: int
    head_count: int
    vocabulary_size: int
    max_context: int
    norm_epsilon: float
    activation: str
    token_type_count: int
    position_offset: int
    pad_token_id: int
    pooling: Literal["mean", "cls"]
    normalized: bool
    labels: tuple[str, ...]
    dtype: str


ModelConfig = DecoderConfig | EncoderConfig
