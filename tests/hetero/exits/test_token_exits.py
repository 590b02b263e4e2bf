"""A decoder's exit that is taken at its word: calibrated on completions, served as certified, and refused otherwise."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adaptive.errors import CalibrationError
from adaptive.modes import AdaptiveChoice, ExitMode
from adaptive.policy import NEVER
from adaptive.report import CalibrationReport
from hetero import Runtime, connect
from hetero.confinement import Confinement
from hetero.engine.requests import Leaving
from hetero.errors import ConfigurationError, InvalidRequestError
from hetero.exits import token_calibration
from hetero.exits.control import ExitControl
from hetero.exits.report_files import read_stored_report, write_report
from hetero.exits.token_calibration import TokenWishes, calibrate_tokens, check_sequences, cut_prompts, head_blocks
from hetero.exits.token_exits import TokenExits
from hetero.models.config import DecoderConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.models.tokenizer import Tokenizer
from hetero.runtime_settings import RuntimeSettings
from hetero.server.convert_adaptive import refuse_exits
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from hetero.types import SamplingParams
from hetero.v1 import inference_pb2 as wire

PLAN, DEPTH = "cpu/torch@fp32:0-6", 4
TEXT = Path(__file__).parents[2] / "data" / "tiny_held_out.txt"
WISHES = TokenWishes(ExitMode.SKIP, 0.2, 0.1, sequences=24, prompt_tokens=12, tokens=12)
#: Below these the exit says nearly all tokens, which 0.2 does not allow.
THRESHOLDS = (NEVER, 0.9, 0.4, 0.01)
PROMPT = "In the beginning"


def config_of(folder: Path) -> DecoderConfig:
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model by itself, calibrated for `skip` and not for `release`."""
    copy = tmp_path_factory.mktemp("certified") / "model"
    shutil.copytree(resolve("tiny"), copy, ignore=shutil.ignore_patterns("exits"))
    prompts = cut_prompts(Tokenizer(copy).encode(TEXT.read_text(encoding="utf-8")), WISHES)
    with (
        pytest.MonkeyPatch.context() as patch,
        Runtime(str(copy), PLAN, in_process=True, exits="observe", draft_depth=DEPTH) as runtime,
    ):
        patch.setattr(token_calibration, "THRESHOLDS", THRESHOLDS)
        report = calibrate_tokens(runtime, copy, config_of(copy), DEPTH, prompts, WISHES)
    write_report(copy, report, ExitMode.SKIP)
    return copy


@pytest.fixture(scope="module")
def report(folder: Path) -> CalibrationReport:
    found = read_stored_report(folder, ExitMode.SKIP)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Iterator[Runtime]:
    with Runtime(str(folder), PLAN, in_process=True, exits="skip") as running:
        yield running


def test_report_holds_what_was_certified_on_completions(report: CalibrationReport, folder: Path) -> None:
    assert report.threshold in THRESHOLDS[1:3], "the safest ones pass, the last one cannot"
    assert report.risk <= report.bounds[-1] <= 0.2
    assert report.samples == 24
    assert report.fingerprint.kv_rule == "deferred-batch"
    assert report.fingerprint.heads == "the model's own head"
    assert report.profile.inputs == 24 * 12
    assert 0 < report.profile.exit_share(DEPTH) < 1
    assert report.head_blocks == head_blocks(folder, config_of(folder)) == pytest.approx(4096 / 3082, rel=0.01)


def test_request_gets_the_mode_that_it_chooses(runtime: Runtime) -> None:
    usual = runtime.generate(PROMPT, max_tokens=40)
    assert set(usual.depths) == {DEPTH, 6}
    full = runtime.generate(PROMPT, max_tokens=40, adaptive=AdaptiveChoice(ExitMode.OFF))
    assert set(full.depths) == {6}
    verified = runtime.generate(PROMPT, max_tokens=40, adaptive=AdaptiveChoice(ExitMode.VERIFY))
    assert verified.token_ids == full.token_ids
    strict = runtime.generate(PROMPT, max_tokens=40, adaptive=AdaptiveChoice(max_disagreement=0.0))
    assert strict == replace(full, timings=strict.timings, seed=strict.seed)
    drawn = runtime.generate(PROMPT, max_tokens=20, temperature=1.0, seed=1)
    assert set(drawn.depths) == {6}, "nothing was certified for tokens that are drawn"
    exits = runtime.stats().exits
    assert exits is not None
    assert (exits.mode, exits.max_disagreement, exits.exits) == (ExitMode.SKIP, 0.2, (DEPTH,))
    assert exits.depths[DEPTH] > 0


@pytest.mark.parametrize(
    ("choice", "sampling", "words"),
    [
        (AdaptiveChoice(ExitMode.TERMINATE), SamplingParams(), "for encoders"),
        (AdaptiveChoice(ExitMode.RELEASE), SamplingParams(), "not calibrated; run `hetero calibrate"),
        (AdaptiveChoice(ExitMode.SKIP), SamplingParams(temperature=1.0), "ask for temperature 0"),
        (AdaptiveChoice(ExitMode.SKIP), SamplingParams(logprobs=2), "without penalty or log-probabilities"),
        (AdaptiveChoice(ExitMode.VERIFY), SamplingParams(temperature=1.0, private_clip=2.0), "ask for the mode off"),
    ],
)
def test_mode_that_cannot_be_had_is_refused(
    runtime: Runtime, choice: AdaptiveChoice, sampling: SamplingParams, words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        runtime.generate(PROMPT, sampling, adaptive=choice)


def test_choice_and_depths_travel_over_grpc(runtime: Runtime) -> None:
    with Server(ServerSettings(port=0)) as server:
        server.attach(runtime)
        with connect(f"localhost:{server.port}") as client:
            assert set(client.generate(PROMPT, max_tokens=40).depths) == {DEPTH, 6}
            assert set(client.generate(PROMPT, max_tokens=40, adaptive=AdaptiveChoice(ExitMode.OFF)).depths) == {6}
            with pytest.raises(InvalidRequestError, match="not calibrated"):
                client.generate(PROMPT, adaptive=AdaptiveChoice(ExitMode.RELEASE))


def test_report_of_another_deployment_means_full_depth(folder: Path) -> None:
    with Runtime(str(folder), "cpu/onnx@fp32:0-6", in_process=True, exits="skip") as other:
        assert set(other.generate(PROMPT, max_tokens=20).depths) == {6}
        exits = other.stats().exits
        assert exits is not None
        assert exits.mode is ExitMode.OFF
        assert "the partition cpu/torch" in exits.reason
        with pytest.raises(InvalidRequestError, match=r"does not fit what runs.*calibrate"):
            other.generate(PROMPT, adaptive=AdaptiveChoice(ExitMode.SKIP))


def test_mode_without_a_report_is_refused_before_anything_starts(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="hetero calibrate MODEL --mode release"):
        Runtime(str(folder), PLAN, in_process=True, exits="release")
    with pytest.raises(ConfigurationError, match="calibrated after 4 blocks, not 2"):
        Runtime(str(folder), PLAN, in_process=True, exits="skip", draft_depth=2)
    with (
        Runtime(str(folder), PLAN, in_process=True) as plain,
        pytest.raises(InvalidRequestError, match="start the model with `--exits skip`"),
    ):
        plain.generate(PROMPT, adaptive=AdaptiveChoice(ExitMode.SKIP))


def test_exit_that_is_never_sure_enough_is_not_certified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_calibration, "THRESHOLDS", (NEVER, 1e-6))
    prompts = cut_prompts(list(range(1000)), WISHES)
    with (
        Runtime(str(folder), PLAN, in_process=True, exits="observe", draft_depth=1) as runtime,
        pytest.raises(CalibrationError, match="place it deeper"),
    ):
        calibrate_tokens(runtime, folder, config_of(folder), 1, prompts, WISHES)


def test_too_few_completions_or_too_short_a_text_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"40 completions cannot certify a share of 0.01"):
        check_sequences(TokenWishes(sequences=40))
    with pytest.raises(InvalidRequestError, match="too few for 24 prompts of 12"):
        cut_prompts(list(range(287)), WISHES)
    pieces = cut_prompts(list(range(300)), WISHES)
    assert len({token for piece in pieces for token in piece}) == 24 * 12


def test_watch_stops_an_exit_that_differs_more_than_was_certified(report: CalibrationReport) -> None:
    control = ExitControl(6, report, "calibrated", audit_share=1.0, mode=ExitMode.SKIP)
    exits = TokenExits(DEPTH, 6, ExitMode.SKIP, {ExitMode.SKIP: control})
    assert exits.choose(None, SamplingParams()) == Leaving(ExitMode.SKIP, report.threshold, audited=True)
    for _ in range(200):
        exits.audited(ExitMode.SKIP, 0.9)
    assert exits.choose(None, SamplingParams()) == Leaving()
    status = exits.status(3, 10)
    assert status is not None
    assert status.mode is ExitMode.OFF
    assert "stopped" in status.reason
    assert status.depths == (0, 0, 0, 0, 3, 0, 7)


def test_under_a_policy_no_exit_is_there() -> None:
    confined = Confinement(lambda device, node: frozenset(), may_exit=True)
    for mode in ("verify", "release", "skip"):
        assert RuntimeSettings(exits=mode, confinement=confined).exits_allowed == "off"  # type: ignore[arg-type]
        request = wire.GenerateRequest(adaptive=wire.AdaptiveOptions(mode=mode))
        with pytest.raises(InvalidRequestError, match="under the policy every token goes through all blocks"):
            refuse_exits(request)
    refuse_exits(wire.GenerateRequest(adaptive=wire.AdaptiveOptions(mode="off")))
    refuse_exits(wire.GenerateRequest())
