"""Exits through real pipelines: what is answered where, against the policy's replay and full depth."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive.modes import AdaptiveChoice, ExitMode
from adaptive.replay import all_scores, outcome
from hetero import Runtime
from hetero.cluster import Cluster
from hetero.errors import InvalidRequestError
from hetero.exits.calibration import Wishes, calibrate, observe
from hetero.exits.report_files import read_stored_report, write_report
from hetero.exits.storage import read_card

OFF = AdaptiveChoice(ExitMode.OFF)
PLANS = ("cpu/torch@fp32:0-4", "cpu/torch@fp32:0-2,cpu/openvino@fp32:2-4", "cpu/openvino@fp32:0-1,cpu/torch@fp32:1-4")


def started(model: Path, plan: str = PLANS[0], exits: str | tuple[int, ...] = "auto", **options: object) -> Runtime:
    return Runtime(str(model), plan, in_process=True, exits=exits, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def calibrated(
    exiting_model: Path, make_texts: Callable[..., tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The model with a report for the first of PLANS; loose, so that much stops early."""
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    shutil.copytree(exiting_model, folder)
    wishes = Wishes(epsilon=0.2, delta=0.1)
    report = calibrate(lambda exits: started(folder, exits=exits), folder, make_texts(400, 1), wishes)
    write_report(folder, report)
    return folder


@pytest.mark.parametrize("plan", PLANS)
def test_observing_changes_no_answer_and_sees_every_exit(
    exiting_model: Path, make_texts: Callable[..., tuple[str, ...]], plan: str
) -> None:
    texts = make_texts(40, 2)
    with started(exiting_model, plan, "off") as plain, started(exiting_model, plan, "observe") as watching:
        seen = observe(watching, read_card(exiting_model), texts)
        assert np.allclose(plain.submit_classification(texts).result(), seen.final, atol=1e-4)
        with pytest.raises(InvalidRequestError, match="without exits"):
            plain.submit_observation(texts)
    assert seen.logits.shape == (40, 3, 3) and np.isfinite(seen.logits).all()
    assert (seen.saturation[:, 1:] > -1.0001).all() and np.isfinite(seen.saturation).all()


def test_answers_and_depths_are_those_of_the_replayed_policy(
    calibrated: Path, make_texts: Callable[..., tuple[str, ...]]
) -> None:
    texts, report = make_texts(300, 3), read_stored_report(calibrated)
    assert report is not None
    with started(calibrated, exits="observe") as watching:
        seen = observe(watching, read_card(calibrated), texts)
    numbers = [report.policy.depths.index(depth) for depth in report.exits]
    expected = outcome(all_scores(report.policy, seen, numbers), report.threshold, seen)
    with started(calibrated, max_sequences=8) as runtime:
        found = runtime.submit_classification(texts)
        logits = found.result()
        # Rows of one batch stop at different depths; sums of differently shaped batches may differ in the last digit.
        assert (found.depths != expected.depths).mean() < 0.01
        assert (logits.argmax(axis=1) != expected.answers).mean() < 0.01
        status = runtime.stats().exits
        assert status is not None and status.mode is ExitMode.TERMINATE
        assert sum(status.depths) == 300 and status.depths[4] < 300
        assert status.mean_depth == pytest.approx(found.depths.mean())
        scores = runtime.classify(texts[:3])
        assert [score.depth for score in scores] == found.depths[:3].tolist()


def test_off_by_request_is_full_depth_beside_rows_that_stop(
    calibrated: Path, make_texts: Callable[..., tuple[str, ...]]
) -> None:
    texts = make_texts(60, 4)
    with started(calibrated, exits="off") as plain, started(calibrated) as runtime:
        wanted = plain.submit_classification(texts).result()
        stopping = [runtime.submit_classification(texts) for _ in range(3)]
        full = runtime.submit_classification(texts, OFF)
        assert np.allclose(full.result(), wanted, atol=1e-4)
        assert (full.depths == 4).all()
        assert all((each.result() is not None) and (each.depths < 4).any() for each in stopping)
        none = runtime.submit_classification(texts, AdaptiveChoice(ExitMode.TERMINATE, 0.0))
        assert np.allclose(none.result(), wanted, atol=1e-4)


def test_modes_of_decoders_are_refused(calibrated: Path) -> None:
    with started(calibrated) as runtime, pytest.raises(InvalidRequestError, match="for decoders"):
        runtime.classify(["cat"], AdaptiveChoice(ExitMode.VERIFY))


def test_a_report_for_another_plan_means_full_depth_and_says_so(calibrated: Path) -> None:
    with started(calibrated, PLANS[1]) as runtime:
        assert runtime.classify(["cat"])[0].depth == 4
        status = runtime.stats().exits
        assert status is not None and status.mode is ExitMode.OFF
        assert "the partition" in status.reason and "hetero calibrate" in status.reason


def test_a_report_on_another_engine_means_full_depth(calibrated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(calibrated, folder)
    report = read_stored_report(folder)
    assert report is not None
    write_report(folder, replace(report, fingerprint=replace(report.fingerprint, engines=("torch 0 on cpu",))))
    with started(folder) as runtime:
        assert runtime.classify(["cat"])[0].depth == 4
        assert "the engines" in runtime.stats().exits.reason  # type: ignore[union-attr]


def test_an_uncalibrated_model_runs_to_full_depth(exiting_model: Path) -> None:
    with started(exiting_model) as runtime:
        assert runtime.classify(["cat"])[0].depth == 4
        assert "not calibrated" in runtime.stats().exits.reason  # type: ignore[union-attr]


@pytest.mark.ray
def test_exits_across_actors_answer_early_and_right(
    ray_cluster: Cluster, exiting_model: Path, make_texts: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    folder, plan = tmp_path / "model", "cpu/torch@fp32:0-2,cpu/torch@fp32:2-4"
    shutil.copytree(exiting_model, folder)
    texts = make_texts(120, 6)
    with Runtime(str(folder), plan, exits="observe") as runtime:
        full = runtime.submit_observation(texts).result()
    wishes = Wishes(epsilon=0.2, delta=0.1)
    report = calibrate(lambda exits: Runtime(str(folder), plan, exits=exits), folder, make_texts(400, 5), wishes)
    write_report(folder, report)
    with Runtime(str(folder), plan, max_sequences=8, micro_batches=2) as runtime:
        found = runtime.submit_classification(texts)
        whole = runtime.submit_classification(texts, OFF)
        logits = found.result()
        # How many stay to the end differs from machine to machine, as the little model's training does.
        stayed = found.depths == 4
        assert stayed.sum() < 120
        assert np.allclose(logits[stayed], full[stayed], atol=1e-4)
        assert np.allclose(whole.result(), full, atol=1e-4) and (whole.depths == 4).all()
        assert (logits.argmax(axis=1) != full.argmax(axis=1)).mean() < 0.35
