"""The seam between the runtime and an engine: what a slice is, and what a compiled one can do.

One file an engine stands beside this one; each imports its vendor's library only when it is used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from adaptive.policy import ExitPolicy
from hetero.batch import Batch, FloatArray
from placement.types import Device


@dataclass(frozen=True, slots=True)
class KvSpec:
    """The KV cache that a decoder's slice must hold.

    Paged stages hold `block_count` blocks of `block_tokens` tokens; stages of static shape hold `max_sequences` slots
    of `max_context` tokens.
    """

    block_count: int
    block_tokens: int
    max_sequences: int
    max_context: int


@dataclass(frozen=True, slots=True)
class ExitSpec:
    """The exits that stages are to have: `policy` decides, by the heads beside the model, of `digest`, at `cuts`.

    Blocks are cut only there: each cut costs a call of the engine, which adapts to another shape of batch.
    """

    policy: ExitPolicy
    digest: str
    cuts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """Blocks [first, last) of the model in `folder`, for one device at one precision.

    The slice that holds block 0 embeds the token ids; the one that ends at the last block ends in the head, and is that
    head alone where `first` is the number of blocks.
    `threads` bounds the CPU threads of the engine; 0 leaves the choice to it. `kv` is None for encoders.
    `draft_depth`: after so many blocks the stage has an exit head, and drafts with what lies before it; 0: it does not.
    `exits`: the exits of an encoder; those inside the slice are its stage's.
    """

    folder: Path
    first: int
    last: int
    device: Device
    precision: str
    threads: int = 0
    kv: KvSpec | None = None
    draft_depth: int = 0
    exits: ExitSpec | None = None


@dataclass(frozen=True, slots=True)
class SliceReport:
    """What really runs where, as the engine itself reports it after compiling.

    `resident_bytes` is how much the stage's process grew meanwhile; 0 where it has no process of its own.
    """

    engine: str
    engine_version: str
    device: str
    precision: str
    weight_bytes: int
    kv_bytes: int
    compile_seconds: float
    resident_bytes: int = 0


class CompiledSlice(Protocol):
    """A slice of layers, compiled and loaded, with the KV cache of its own layers."""

    report: SliceReport

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        """Run the slice on one batch.

        `hidden` is None for the first slice, else the previous slice's output: float32 [T, D] for a decoder,
        [B, L, D] for an encoder. Returns the same shape, or from the last slice: logits float32 [R, V] of the rows in
        `sample_rows` (decoder), pooled embeddings or class logits float32 [B, D or C] (encoder).
        The returned array belongs to the caller until the next `run`.

        Raises BackendError if the engine fails.
        """
        ...

    def close(self) -> None:
        """Free the engine's memory."""
        ...


class Backend(Protocol):
    """An engine: which devices of this machine it drives, and how to compile a slice for one of them."""

    name: str

    def devices(self) -> tuple[Device, ...]:
        """Devices of this machine that the engine drives now, each with only this engine named."""
        ...

    def compile(self, spec: SliceSpec) -> CompiledSlice:
        """Compile and load a slice. Raises BackendError where the device cannot hold all of it; never falls back."""
        ...
