"""The texts of `train_tiny.py`: cut into passages, split into learned and held out, and turned into token ids.

A form feed opens a chapter (`collect_texts.sh` writes such files). A chapter is cut at line ends into passages, and
every twentieth passage of a file is held out: it teaches neither the weights nor the vocabulary. Knows no model.
"""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|endoftext|>"
VOCABULARY = 4096
PASSAGE_CHARACTERS = 6000
HELD_OUT_EVERY = 20


def passages(text: str) -> list[str]:
    """Chapters, each cut at line ends into passages of about `PASSAGE_CHARACTERS`."""
    cut: list[str] = []
    for chapter in text.split("\f"):
        held: list[str] = []
        for line in chapter.strip().splitlines(keepends=True):
            held.append(line)
            if sum(map(len, held)) >= PASSAGE_CHARACTERS:
                cut.append("".join(held))
                held = []
        # Every chapter ends with END, so that the model learns to stop; a passage cut inside a chapter does not.
        cut.append("".join(held).rstrip() + END)
    return [passage for passage in cut if passage != END]


def split(files: list[Path]) -> tuple[list[str], list[str]]:
    """Passages to learn from and passages held out, over all files."""
    learn: list[str] = []
    held_out: list[str] = []
    for file in files:
        for index, passage in enumerate(passages(file.read_text(encoding="utf-8"))):
            (held_out if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else learn).append(passage)
    return learn, held_out


def load_or_train_tokenizer(file: Path, texts: list[str]) -> Tokenizer:
    """The tokenizer kept in `file`; where there is none, one is learned from `texts` and kept."""
    if not file.exists():
        train_tokenizer(texts).save(str(file))
    return Tokenizer.from_file(str(file))


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE, learned on the training passages only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet)
    )
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """One stream of token ids, int64 [N]."""
    return torch.from_numpy(np.concatenate([np.array(e.ids, np.int64) for e in tokenizer.encode_batch(texts)]))
