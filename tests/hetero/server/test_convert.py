"""What goes into a message comes out of it again, whatever the values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetero.backends.base import SliceReport
from hetero.engine.requests import Finished
from hetero.errors import ConfigurationError, InvalidRequestError
from hetero.server import convert
from hetero.server.convert_placement import plan_from_wire, plan_to_wire, report_from_wire, report_to_wire
from hetero.streams import Ending
from hetero.types import Chunk, ClassScores, FinishReason, ModelInfo, SamplingParams, Timings, TokenLogprob
from hetero.v1 import inference_pb2 as wire
from hetero.v1 import placement_pb2 as wire_placement
from placement.types import Device, DeviceKind, EncryptedStage, Plan, Stage

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
counts = st.integers(0, 2**31 - 1)
sizes = st.integers(0, 2**63 - 1)
reals = st.floats(allow_nan=False, allow_infinity=False)
ids = st.integers(0, 2**32 - 1)
several = {"max_size": 3}
id_tuples = st.lists(ids, **several).map(tuple)
text_tuples = st.lists(texts, **several).map(tuple)
alternatives = st.lists(st.tuples(ids, reals), **several).map(tuple)
logprobs = st.lists(st.builds(TokenLogprob, ids, reals, alternatives), **several).map(tuple)
timings = st.builds(Timings, reals, reals, reals, reals)
samplings = st.builds(
    SamplingParams,
    counts,
    reals,
    counts,
    reals,
    reals,
    reals,
    st.none() | sizes,
    st.none() | counts,
    text_tuples,
    id_tuples,
    st.booleans(),
)
devices = st.builds(
    Device,
    texts,
    st.sampled_from(DeviceKind),
    text_tuples,
    text_tuples,
    sizes,
    texts,
    st.booleans(),
    st.booleans(),
    texts,
    texts,
    id_tuples,
)
stages = st.builds(Stage, devices, texts, counts, counts, texts, st.none() | reals)
measured = [st.none() | reals, st.none() | reals, st.none() | sizes, st.none() | sizes]
sealed = st.builds(EncryptedStage, devices, texts, texts, *measured)
plans = st.builds(
    Plan, st.lists(stages, min_size=1, max_size=3).map(tuple), texts, st.lists(sealed, max_size=2).map(tuple)
)
models = st.builds(
    ModelInfo,
    texts,
    st.sampled_from(["decoder", "encoder"]),
    texts,
    counts,
    counts,
    counts,
    counts,
    text_tuples,
    texts,
)


@given(samplings)
def test_sampling_goes_there_and_back(sampling: SamplingParams) -> None:
    sent = wire.SamplingOptions.FromString(convert.sampling_to_wire(sampling).SerializeToString())
    assert convert.sampling_from_wire(sent) == sampling


@given(st.builds(Chunk, texts, id_tuples, logprobs, st.none(), id_tuples))
def test_chunk_goes_there_and_back(chunk: Chunk) -> None:
    assert convert.chunk_from_wire(convert.chunk_to_wire(chunk)) == chunk


@given(st.builds(Finished, counts, counts, st.sampled_from(FinishReason), timings, sizes), plans)
def test_summary_goes_there_and_back(finished: Finished, plan: Plan) -> None:
    ending = convert.summary_from_wire(convert.summary_to_wire(finished, plan))
    assert ending == Ending(
        finished.prompt_tokens,
        finished.completion_tokens,
        finished.finish_reason,
        finished.timings,
        finished.seed,
        plan,
    )


@given(plans)
def test_plan_goes_there_and_back(plan: Plan) -> None:
    assert plan_from_wire(plan_to_wire(plan)) == plan


@given(models)
def test_model_goes_there_and_back(info: ModelInfo) -> None:
    assert convert.model_from_wire(convert.model_to_wire(info)) == info


def test_report_goes_there_and_back() -> None:
    report = SliceReport("openvino", "2026.4", "cpu", "bf16", 10, 2**40, 1.5)
    assert report_from_wire(report_to_wire(report)) == report


@pytest.mark.parametrize("value", [0, 99])
def test_enum_value_that_is_unknown_names_the_way_out(value: int) -> None:
    device = wire_placement.Device(name="tpu", kind=value)
    with pytest.raises(ConfigurationError, match=f"kind of device {value}.*update this client"):
        plan_from_wire(wire_placement.Plan(stages=[wire_placement.Stage(device=device)]))
    with pytest.raises(ConfigurationError, match=f"reason to end {value}.*update this client"):
        convert.summary_from_wire(wire.Summary(finish_reason=value))


def test_vectors_keep_every_bit() -> None:
    vectors = np.random.default_rng(1).standard_normal((3, 7)).astype(np.float32)
    np.testing.assert_array_equal(convert.vectors_from_wire(convert.vectors_to_wire(vectors)), vectors)


def test_scores_go_there_and_back() -> None:
    scored = [ClassScores(("a", "b"), (0.25, 0.75)), ClassScores(("a", "b"), (1.0, 0.0))]
    assert convert.scores_from_wire(convert.scores_to_wire(scored)) == scored


@pytest.mark.parametrize("prompt", ["text", [1, 2, 3], [{"role": "user", "content": "hi"}]])
def test_prompt_goes_there_and_back(prompt: object) -> None:
    request = wire.GenerateRequest()
    convert.prompt_to_wire(prompt, request)
    assert convert.prompt_from_wire(request) == prompt


@pytest.mark.parametrize("value", [2**31, "many", 1.5])
def test_sampling_value_that_the_wire_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be sent"):
        convert.sampling_to_wire(SamplingParams(max_tokens=value))
