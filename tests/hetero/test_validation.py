"""What may be asked for: sampling values, token ids, prompts, lengths."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from hetero.errors import InvalidRequestError, PromptTooLongError
from hetero.prompts import tokenize
from hetero.types import SamplingParams
from hetero.validation import check_length, check_sampling, check_token_ids, merge_options

BAD = [
    ("private_clip", -1.0),
    ("private_clip", float("nan")),
    ("max_tokens", 0),
    ("max_tokens", -3),
    ("max_tokens", 1.5),
    ("max_tokens", True),
    ("max_tokens", "12"),
    ("temperature", -0.01),
    ("temperature", float("inf")),
    ("temperature", float("nan")),
    ("temperature", None),
    ("top_k", -1),
    ("top_k", 2.0),
    ("top_p", 0),
    ("top_p", 1.0001),
    ("min_p", -0.1),
    ("min_p", 2),
    ("repetition_penalty", 0),
    ("repetition_penalty", -1.0),
    ("repetition_penalty", 1e-30),
    ("repetition_penalty", 1e30),
    ("seed", -1),
    ("seed", 2**63),
    ("logprobs", -1),
    ("logprobs", 21),
    ("ignore_eos", "no"),
    ("stop", "abc"),
    ("stop", 5),
    ("stop_token_ids", 5),
    ("stop", ("",)),
    ("stop", (3,)),
    ("stop", ("x",) * 17),
    ("stop_token_ids", (100,)),
    ("stop_token_ids", (-1,)),
    ("stop_token_ids", (1.0,)),
    ("stop_token_ids", (1,) * 1025),
]
GOOD = [
    ("max_tokens", 1),
    ("temperature", 0),
    ("temperature", 3),
    ("top_k", 10**6),
    ("top_p", 1),
    ("top_p", 1e-9),
    ("min_p", 0),
    ("min_p", 1.0),
    ("repetition_penalty", 0.5),
    ("repetition_penalty", 0.01),
    ("repetition_penalty", 100),
    ("seed", None),
    ("seed", 2**63 - 1),
    ("logprobs", None),
    ("logprobs", 0),
    ("stop", ("\n\n", "é")),
    ("stop_token_ids", (0, 99) * 512),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_value_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{field} "):
        check_sampling(dataclasses.replace(SamplingParams(), **{field: value}), 100)


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_value_at_the_edge_of_its_range_passes(field: str, value: object) -> None:
    check_sampling(dataclasses.replace(SamplingParams(), **{field: value}), 100)


def test_every_field_is_checked() -> None:
    assert {field.name for field in dataclasses.fields(SamplingParams)} == {field for field, _ in BAD}


def test_options_lie_over_the_given_values() -> None:
    base = SamplingParams(max_tokens=5, temperature=0.5)
    merged = merge_options(base, {"temperature": 0.7, "stop": "END", "stop_token_ids": [3]})
    assert merged == SamplingParams(max_tokens=5, temperature=0.7, stop=("END",), stop_token_ids=(3,))
    assert merge_options(None, {}) == SamplingParams()


def test_unknown_option_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match=r"'top_x'.*top_k, top_p"):
        merge_options(None, {"top_x": 1})


def test_length_gives_the_room_that_is_left() -> None:
    assert check_length(10, 16) == 6
    assert check_length(15, 16) == 1
    with pytest.raises(PromptTooLongError, match="16 tokens but the context holds 16"):
        check_length(16, 16)


class Costly:
    """A value of which only so many may be written out."""

    shown = 0

    def __repr__(self) -> str:
        Costly.shown += 1
        return "5"


def test_long_tuple_is_not_written_out_for_its_message() -> None:
    with pytest.raises(InvalidRequestError, match=r"^stop is \(5, 5, .*\.\.\. but must be at most 16"):
        check_sampling(SamplingParams(stop=(Costly(),) * 100_000), 100)
    assert Costly.shown <= 60


def test_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_token_ids("the prompt", ["x" * 10_000], 100)
    assert len(str(caught.value)) < 200


class Words:
    """A tokenizer of words: each word is the number of its letters."""

    def encode(self, text: str, *, most_tokens: int | None) -> list[int]:
        return [len(word) for word in text.split()]

    def encode_chat(self, messages: Sequence[Mapping[str, str]], *, most_tokens: int | None) -> list[int]:
        words = [self.encode(message["content"], most_tokens=most_tokens) for message in messages]
        return [token for each in words for token in (99, *each)]


@pytest.mark.parametrize(
    ("prompt", "token_ids"),
    [
        ("to be or", (2, 2, 2)),
        ([1, 2, 3], (1, 2, 3)),
        ((7,), (7,)),
        (np.array([4, 5]), (4, 5)),
        ([{"role": "user", "content": "to be"}], (99, 2, 2)),
        ([{"role": "system", "content": ""}, {"role": "user", "content": "or", "name": "x"}], (99, 99, 2)),
    ],
)
def test_prompt_of_each_kind_becomes_token_ids(prompt: object, token_ids: tuple[int, ...]) -> None:
    assert tokenize(Words(), prompt, 100, 16) == token_ids


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "empty"),
        ([], "empty"),
        ("   ", "no tokens"),
        ([100], "from 0 to 99"),
        ([-1], "from 0 to 99"),
        ([1, "a"], "no token id"),
        ([1.0], "no token id"),
        ([{"role": "user"}], "role"),
        ([{"role": "", "content": "x"}], "role"),
        ([{"role": "user", "content": 5}], "role"),
        ([{"role": "user", "content": "a"}, "b"], "role"),
        ([1, {"role": "user", "content": "a"}], "no token id"),
        (None, "None"),
        (3, "3"),
    ],
)
def test_prompt_that_is_none_is_refused_with_a_reason(prompt: object, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        tokenize(Words(), prompt, 100, 16)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"logprobs": 0}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0.0}])
def test_private_sampling_takes_nothing_that_tells_more(changes: dict[str, object]) -> None:
    private = SamplingParams(temperature=1.0, private_clip=1.0)
    check_sampling(private, 10)
    with pytest.raises(InvalidRequestError, match="private completion"):
        check_sampling(dataclasses.replace(private, **changes), 10)
