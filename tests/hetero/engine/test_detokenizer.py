"""Streamed text against `decode` of everything, for three kinds of tokenizers."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from hetero.engine.detokenizer import MAX_HELD_TOKENS, REPLACEMENT, Detokenizer
from hetero.models.tokenizer import Tokenizer

STORIES = Path(__file__).parents[2] / "models" / "stories260k"
TEXTS = ["Once upon a time, there was a naïve 日本 cat 😀🏳️‍🌈.", "don't  stop , éclair\n\tend", "Ωμέγα семь ок"]


class Raw:
    """A tokenizer made here, seen as the engine sees one."""

    def __init__(self, raw: RawTokenizer) -> None:
        self.raw = raw

    def encode(self, text: str) -> list[int]:
        return list(self.raw.encode(text).ids)

    def decode(self, ids: Sequence[int], /) -> str:
        return str(self.raw.decode(list(ids)))


def byte_level() -> Raw:
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<end>"])
    raw.train_from_iterator(TEXTS * 3, trainer)
    return Raw(raw)


def word_piece() -> Raw:
    raw = RawTokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.decoder = decoders.WordPiece()
    raw.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]", "[SEP]"]))
    return Raw(raw)


TOKENIZERS = {"sentencepiece": Tokenizer(STORIES), "byte_level": byte_level(), "word_piece": word_piece()}
SIZES = {"sentencepiece": 512, "byte_level": 300, "word_piece": 100}


def stream(name: str, ids: Sequence[int]) -> list[str]:
    detokenizer = Detokenizer(TOKENIZERS[name])
    return [*(detokenizer.add(token_id) for token_id in ids), detokenizer.flush()]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_pieces_joined_are_the_whole_text_and_split_no_character(name: str, text: str) -> None:
    ids = TOKENIZERS[name].encode(text)
    pieces = stream(name, ids)
    assert "".join(pieces) == TOKENIZERS[name].decode(ids)
    assert not any(REPLACEMENT in piece for piece in pieces)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["sentencepiece", "byte_level"]), st.text(max_size=60))
@example("sentencepiece", "   leading and   inner spaces ")
@example("byte_level", REPLACEMENT)
def test_any_text_streams_to_itself(name: str, text: str) -> None:
    ids = TOKENIZERS[name].encode(text)
    assert "".join(stream(name, ids)) == TOKENIZERS[name].decode(ids)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_ids_of_words_stream_to_their_text(data: st.DataObject) -> None:
    """What a model may emit: any ids whose bytes are text, special ones and lone spaces among them."""
    name = data.draw(st.sampled_from(sorted(TOKENIZERS)))
    ids = data.draw(st.lists(st.integers(0, SIZES[name] - 1), max_size=40))
    whole = TOKENIZERS[name].decode(ids)
    if REPLACEMENT not in whole:
        assert "".join(stream(name, ids)) == whole


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 299), max_size=60))
def test_any_bytes_of_a_byte_level_vocabulary_stream_to_their_text(ids: list[int]) -> None:
    assert "".join(stream("byte_level", ids)) == TOKENIZERS["byte_level"].decode(ids)


def byte_ids(text: bytes) -> list[int]:
    """Byte-fallback ids of the sentencepiece-like tokenizer: <0x00> is id 3."""
    return [3 + byte for byte in text]


def test_text_begins_without_the_decoders_leading_space() -> None:
    ids = TOKENIZERS["sentencepiece"].encode("the cat")[1:]
    assert "".join(stream("sentencepiece", ids)) == "the cat"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(TOKENIZERS)), st.text(max_size=30), st.integers(0, 30))
@example("sentencepiece", "Once upon a time there was", 6)
@example("sentencepiece", "日 日本", 3)
def test_pieces_after_a_prompt_are_the_rest_of_the_whole_text(name: str, text: str, cut: int) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text)
    prompt, rest = ids[:cut], ids[cut:]
    before = tokenizer.decode(prompt)
    if REPLACEMENT in tokenizer.decode(ids) or REPLACEMENT in before:
        return
    detokenizer = Detokenizer(tokenizer, prompt)
    pieces = [*(detokenizer.add(token_id) for token_id in rest), detokenizer.flush()]
    assert before + "".join(pieces) == tokenizer.decode(ids)


def test_a_character_of_four_byte_tokens_comes_whole_with_its_last() -> None:
    assert stream("sentencepiece", byte_ids("😀".encode())) == ["", "", "", "😀", ""]


def test_an_unfinished_character_at_the_end_becomes_replacements_and_leaves_told_ones_alone() -> None:
    pieces = stream("sentencepiece", byte_ids("日本".encode()[:-1]))
    assert pieces == ["", "", "日", "", "", REPLACEMENT * 2]


def test_bytes_that_are_not_utf8_are_not_held_for_ever() -> None:
    pieces = stream("sentencepiece", byte_ids(b"\xff" * 100))
    longest_wait = max(len(run) for run in "".join("x" if piece else "." for piece in pieces).split("x"))
    assert longest_wait < MAX_HELD_TOKENS
    assert "".join(pieces) == REPLACEMENT * 100


def test_a_character_told_before_invalid_bytes_is_not_taken_back() -> None:
    pieces = stream("sentencepiece", [*byte_ids("日".encode() + b"\xff"), *TOKENIZERS["sentencepiece"].encode("a")])
    assert "".join(pieces) == "日" + REPLACEMENT + " a"


def test_special_tokens_have_no_text() -> None:
    tokenizer = TOKENIZERS["sentencepiece"]
    ids = [1, *tokenizer.encode("one")[1:], 2, 2, *tokenizer.encode("two")[1:], 2]
    assert "".join(stream("sentencepiece", ids)) == tokenizer.decode(ids) == "one two"


@pytest.mark.parametrize("ids", [byte_ids(b"\xff") * 4000, [2] * 4000, [410] * 4000, byte_ids("日".encode()) * 1300])
def test_the_cost_of_a_token_does_not_grow_with_the_text(ids: list[int]) -> None:
    detokenizer = Detokenizer(TOKENIZERS["sentencepiece"])
    for token_id in ids:
        detokenizer.add(token_id)
        assert len(detokenizer._window) <= 2 * MAX_HELD_TOKENS


def test_a_token_costs_less_than_a_tenth_of_a_millisecond() -> None:
    ids = TOKENIZERS["sentencepiece"].encode(TEXTS[0]) * 20
    begin = time.perf_counter()
    stream("sentencepiece", ids)
    assert (time.perf_counter() - begin) / len(ids) < 1e-4
