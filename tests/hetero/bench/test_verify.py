"""`hetero bench verify` measures what it says: rates, drafts that held, and tokens that are the same."""

from pathlib import Path

import pytest

from hetero.bench.decode import Load
from hetero.bench.verify import compare_tokens, measure_verify, text_prompts
from hetero.errors import InvalidRequestError
from hetero.runtime import Runtime

TEXT = (Path(__file__).parents[2] / "data" / "tiny_held_out.txt").read_text(encoding="utf-8")
PLAN = "cpu/torch:0-6"


def test_rates_and_identity_of_the_embedded_model() -> None:
    full = Runtime("tiny", PLAN, context=128, in_process=True, exits="off")
    drafting = Runtime("tiny", PLAN, context=128, in_process=True, exits="verify", draft_depth=4)
    with full, drafting:
        prompts = text_prompts(full, TEXT, 16, 9)
        rates = measure_verify([full, drafting], prompts, [Load(2, 16, 24)], 1, lambda text: None)
        found = compare_tokens(full, drafting, prompts, 16, lambda text: None)
        assert drafting.stats().drafted_tokens > 0
    assert (found.greedy, found.greedy_same, found.sampled, found.sampled_same) == (9, 9, 3, 3)
    assert [rate.concurrency for each in rates for rate in each] == [2, 2]
    assert rates[0][0].drafted == 0
    assert rates[0][0].tokens_per_verification is None
    assert all(rate.tokens_per_second > 0 for each in rates for rate in each)


def test_short_text_is_refused() -> None:
    with Runtime("tiny", PLAN, context=64, in_process=True) as runtime, pytest.raises(InvalidRequestError, match="few"):
        text_prompts(runtime, "Once upon", 16, 4)
