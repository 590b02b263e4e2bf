"""Profiles are found again for the same model, machine and versions, and refused for others."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hetero.profiling.cache import cache_folder, cached_profile, profile_path, usable_profile
from hetero.profiling.findings import Findings, is_measured, is_refused
from hetero.profiling.fingerprint import fingerprint
from hetero.profiling.options import Option
from placement import Device, DeviceKind
from placement.errors import ProfileError
from placement.profiles import Fingerprint, LinkTime, Profile, SegmentTime

CPU = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 100, cores=(0, 1))
CORE = Device("cpu-core0", DeviceKind.CPU, ("torch",), ("fp32",), 50, cores=(0,))
EXPECTED = Fingerprint("model", "machine", (("torch", "1"),))
TIME = SegmentTime("cpu", "torch", "fp32", "decode", 0, 5, 1, 64, (0.25,))


def test_fingerprint_is_that_of_the_model_and_of_whole_devices(stories260k: Path, minilm: Path, tmp_path: Path) -> None:
    own = fingerprint(stories260k, (CPU,))
    assert own == fingerprint(stories260k, (CPU, CORE))
    assert own.model != fingerprint(minilm, (CPU,)).model
    assert own.machine != fingerprint(stories260k, (replace(CPU, engines=("torch", "onnx")),)).machine
    assert {"hetero", "torch", "openvino"} <= set(dict(own.versions))
    copied = shutil.copytree(stories260k, tmp_path / "other")
    assert fingerprint(copied, (CPU,)) == own
    (copied / "config.json").write_text((copied / "config.json").read_text() + " ")
    assert fingerprint(copied, (CPU,)).model != own.model


def test_cache_is_where_the_environment_says() -> None:
    assert cache_folder({"HETERO_CACHE": "/named"}) == Path("/named")
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/hetero")
    assert cache_folder({}) == Path.home() / ".cache" / "hetero"


def test_saved_profile_is_found_for_its_model_and_machine_alone(tmp_path: Path) -> None:
    profile = Profile(EXPECTED, 5, (TIME,))
    profile.save(profile_path(EXPECTED, tmp_path))
    assert cached_profile(EXPECTED, tmp_path) == profile
    for other in (replace(EXPECTED, model="another"), replace(EXPECTED, machine="another")):
        assert cached_profile(other, tmp_path) is None


def test_profile_of_other_versions_is_not_used_and_the_reason_is_said(tmp_path: Path) -> None:
    Profile(EXPECTED, 5, (TIME,)).save(profile_path(EXPECTED, tmp_path))
    newer = replace(EXPECTED, versions=(("torch", "2"),))
    with pytest.raises(ProfileError, match="torch 1, now 2"):
        cached_profile(newer, tmp_path)
    profile, why = usable_profile(newer, tmp_path)
    assert profile is None and "torch 1, now 2" in why
    assert "has not been measured" in usable_profile(EXPECTED, tmp_path / "empty")[1]


def test_damaged_profile_is_not_used_and_the_reason_is_said(tmp_path: Path) -> None:
    path = profile_path(EXPECTED, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert str(path) in usable_profile(EXPECTED, tmp_path)[1]


def test_later_findings_replace_earlier_ones_and_leave_the_rest() -> None:
    kept, replaced = replace(TIME, tokens=2), replace(TIME, seconds=(9.0,))
    link = LinkTime("host", "cpu", 10, (0.1,))
    earlier = Profile(EXPECTED, 5, (replaced, kept), (link,))
    profile = Findings(segments=[TIME], links=[replace(link, size_bytes=20)]).over(earlier, EXPECTED, 5)
    assert set(profile.segments) == {TIME, kept}
    assert [each.size_bytes for each in profile.links] == [10, 20]


def test_passes_are_pooled_measurement_by_measurement() -> None:
    link = LinkTime("host", "cpu", 10, (0.1,))
    first, second = (Findings(segments=[replace(TIME, seconds=(each,))], links=[link]) for each in (1.0, 2.0))
    second.segments.append(replace(TIME, tokens=4))
    first.pool(second)
    assert first.segments == [replace(TIME, seconds=(1.0, 2.0)), replace(TIME, tokens=4)]
    assert first.links == [replace(link, seconds=(0.1, 0.1))]


def test_option_is_measured_once_it_has_the_times_and_refused_once_that_is_known() -> None:
    measured, refused, neither = (Option(CPU, "torch", precision) for precision in ("fp32", "bf16", "fp16"))
    findings = Findings(segments=[TIME])
    findings.refuse(refused, "cannot")
    profile = findings.over(None, EXPECTED, 5)
    assert [is_measured(profile, option, [(0, 5)]) for option in (measured, refused, neither)] == [True, False, False]
    assert [is_refused(profile, option) for option in (measured, refused, neither)] == [False, True, False]
    assert not is_measured(profile, measured, [(0, 5), (0, 1)]) and not is_measured(None, measured, [(0, 5)])
