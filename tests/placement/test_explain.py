"""What is said and drawn of a choice: text, terminal drawing, SVG, and the document for machines."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from placement import (
    Constraints,
    DataLabel,
    MeasuredRun,
    Objective,
    PlacementProblem,
    Power,
    Traffic,
    Trust,
    choice_document,
    choice_text,
    choose,
    draw_svg,
    draw_text,
    format_plan,
    measured_text,
)
from placement.speed import unlike_problem
from placement.wording import amount, duration, size, table

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def trusted(small) -> PlacementProblem:
    """The GPU may not see the prompt, so that the CPU begins."""
    clearances = {"cpu": frozenset(DataLabel), "gpu0": frozenset({DataLabel.HIDDEN, DataLabel.LOGITS})}
    return replace(small, constraints=Constraints(trust=Trust(clearances)), power=Power({"cpu": 50.0, "gpu0": 200.0}))


def test_text_tells_stages_what_binds_alternatives_and_refusals(trusted):
    choice = choose(trusted)
    text = choice_text(choice)
    for said in (
        format_plan(choice.plan),
        choice.plan.reason,
        "cpu/openvino@fp16",
        "host -> cpu",
        "cpu -> gpu0",
        "gpu0 -> host",
        "first token",
        "J a request",
        "What binds: ",
        "* ",
        "gpu0 alone",
        "trust: blocks 0-4 would show gpu0 raw-tokens",
        "memory: blocks 0-4 need 40 MiB",
    ):
        assert said in text
    assert "~" not in text


def test_guessed_times_are_marked(small):
    choice = choose(replace(small, profile=None))
    text = choice_text(choice)
    assert "~" in text
    assert "nothing was measured there" in text


def test_drawing_shows_every_stage_and_hop_in_order(trusted):
    figures = choose(trusted).figures
    lines = draw_text(figures).splitlines()
    assert lines[0] == lines[-1] == "host"
    boxes = [line for line in lines if line.startswith("│")]
    assert [box.split()[1] for box in boxes] == ["cpu/openvino@fp16", "gpu0/torch@fp16"]
    assert sum(line.startswith("  │") for line in lines) == 3
    assert sum("<- busiest" in line for line in lines) == 1
    widths = {len(line) for line in lines if line.startswith("┌")}
    assert len(widths) == 1


@pytest.mark.parametrize("devices", [1, 4, 6])
def test_svg_is_a_document_with_every_stage_inside_its_picture(devices):
    traffic = Traffic(concurrency=8, batch_sequences=2)
    figures = choose(unlike_problem(24, devices + 3, traffic, Objective.THROUGHPUT)).figures
    figures = replace(figures, stages=figures.stages[:devices], hops=figures.hops[: devices + 1])
    root = ElementTree.fromstring(draw_svg(figures, title='a < b & "c"'))
    assert root.tag == f"{SVG}svg"
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert 'a < b & "c"' in words
    for stage in figures.stages:
        assert stage.stage.device.name in words
        assert any(f"blocks {stage.stage.first}-{stage.stage.last}:" in text for text in words)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert 0 <= x <= x + float(box.attrib["width"]) <= width
        assert 0 <= y <= y + float(box.attrib["height"]) <= height


def test_document_is_json_with_every_number(trusted):
    choice = choose(trusted)
    document = json.loads(json.dumps(choice_document(choice), allow_nan=False))
    assert document["plan"] == format_plan(choice.plan)
    assert [stage["device"] for stage in document["figures"]["stages"]] == ["cpu", "gpu0"]
    assert document["figures"]["latency_seconds"] == choice.figures.latency_seconds
    assert {each["reason"] for each in document["refusals"]} == {"memory", "trust"}
    assert {each["name"] for each in document["alternatives"]} >= {"cpu alone", "gpu0 alone"}


def test_document_has_null_where_there_is_no_number(small):
    document = choice_document(choose(small))
    assert document["figures"]["energy_joules"] is None
    json.dumps(document, allow_nan=False)


def test_predicted_stands_beside_measured(trusted):
    figures = choose(trusted).figures
    run = MeasuredRun(tuple(stage.token_seconds * 1.25 for stage in figures.stages), figures.token_seconds, 1.0)
    lines = measured_text(figures, run).splitlines()
    assert [line.split()[-1] for line in lines[1:4]] == ["-20.0%", "-20.0%", "+0.0%"]
    assert lines[4].startswith("first token")


def test_words_for_numbers():
    assert [duration(s) for s in (1.234, 0.0456, 7.89e-5, 1500)] == ["1.23 s", "45.6 ms", "78.9 µs", "1,500 s"]
    assert [size(2**20 * 5), size(2**30 * 12)] == ["5 MiB", "12.0 GiB"]
    assert amount(Objective.THROUGHPUT, 0.25) == "4 requests/s"
    assert table([("a", "1"), ("bb", "22")], right=(1,)) == "a    1\nbb  22"
