"""Profiles on disk: what is written is read back, and what cannot be is refused with its name."""

import json
import math
from dataclasses import replace

import pytest

from placement.errors import PlacementError, ProfileError, UnknownDeviceError
from placement.profiles import (
    Contention,
    Fingerprint,
    LinkTime,
    Profile,
    Refusal,
    SegmentMemory,
    SegmentTime,
    profile_from,
)

PROFILE = Profile(
    Fingerprint("model-1", "machine-1", (("openvino", "2026.4"), ("torch", "2.13"))),
    4,
    (SegmentTime("cpu", "openvino", "fp32", "decode", 0, 1, 1, 64, (0.1, 0.2)),),
    (LinkTime("host", "cpu", 4096, (1e-4,)),),
    (SegmentMemory("cpu", "openvino", "fp32", 0, 1, 100, 16, 50),),
    (Refusal("npu", "onnx", "fp16", "operator Foo is not supported"),),
    (Contention(("cpu", "npu"), 1.5),),
)


def test_profile_written_is_read_back_the_same(tmp_path):
    path = tmp_path / "deeper" / "profile.json"
    PROFILE.save(path)
    assert Profile.load(path) == PROFILE
    assert [each.name for each in path.parent.iterdir()] == ["profile.json"]
    assert PROFILE.device_names() == ("cpu", "npu")


def changed(*keys, value):
    """The profile's document with one entry replaced, or removed where the value is None."""
    from dataclasses import asdict

    document = json.loads(json.dumps({"format": 1, **asdict(PROFILE)}))
    place = document
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return document


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            changed("segments", 0, "seconds", value=[0.1, math.nan]),
            r"cpu/openvino@fp32 decode 0-1 .* holds nan",
        ),
        (changed("segments", 0, "seconds", value=[-0.1]), r"holds -0\.1 seconds"),
        (changed("segments", 0, "seconds", value=[math.inf]), "holds inf seconds"),
        (changed("segments", 0, "seconds", value=[]), "has no time"),
        (changed("segments", 0, "tokens", value=0), "tokens too small"),
        (changed("segments", 0, "last", value=5), "decode 0-5 is no range of the model's blocks 0-4"),
        (changed("segments", 0, "phase", value="train"), "must be one of prefill, decode, encode"),
        (changed("segments", 0, "first", value="0"), "must be of type int"),
        (changed("segments", 0, "device", value=None), r"segments\[0\] lacks 'device'"),
        (changed("links", 0, "seconds", value=[math.nan]), "the link host -> cpu at 4096 bytes holds nan"),
        (changed("links", 0, "speed", value=3), "unknown field 'speed'"),
        (changed("links", value={}), "links must be a list"),
        (changed("memory", 0, "weight_bytes", value=-1), "has weights too small"),
        (changed("contentions", 0, "factor", value=math.nan), "the contention of cpu and npu is nan"),
        (changed("contentions", 0, "devices", value=["cpu"]), "must have 2 entries, not 1"),
        (changed("block_count", value=0), "is of 0 blocks"),
        (changed("fingerprint", value=None), "fingerprint must be an object"),
        (changed("format", value=2), "not of format 1"),
        ([], "not of format 1"),
    ],
)
def test_profile_that_cannot_be_is_refused_with_its_name(document, sentence):
    with pytest.raises(ProfileError, match=sentence):
        profile_from(document)


def test_profile_of_impossible_times_is_not_written(tmp_path):
    bad = replace(PROFILE.segments[0], seconds=(math.nan,))
    with pytest.raises(ProfileError, match="holds nan"):
        replace(PROFILE, segments=(bad,)).save(tmp_path / "profile.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        (replace(PROFILE.fingerprint, model="model-2"), "another model"),
        (replace(PROFILE.fingerprint, machine="machine-2"), "another machine"),
        (
            replace(PROFILE.fingerprint, versions=(("torch", "2.14"),)),
            "openvino 2026.4, now absent, torch",
        ),
    ],
)
def test_profile_of_something_else_is_refused(expected, sentence):
    with pytest.raises(ProfileError, match=sentence):
        PROFILE.require(expected)


def test_profile_that_names_an_unknown_device_is_refused():
    assert PROFILE.require(PROFILE.fingerprint, ["cpu", "npu", "gpu0"]) is PROFILE
    with pytest.raises(UnknownDeviceError, match="names device 'npu', but the devices here are: cpu"):
        PROFILE.require(PROFILE.fingerprint, ["cpu"])


@pytest.mark.parametrize(("text", "sentence"), [("{", "is not a JSON file"), (None, "cannot read the profile")])
def test_file_that_is_no_profile_is_refused(tmp_path, text, sentence):
    path = tmp_path / "profile.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PlacementError, match=sentence):
        Profile.load(path)
