"""Choices of attacks that make no sense, each with the exact message that the user reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from jobs.errors import EXIT_INPUT, GridError
from jobs.grid.read import parse_grid
from jobs.plan.expand import expand

EITHER = "a choice has either `among`, a list of attacks, or `of`, an attack with one knob as a list: {kind: choose, of: secmi, t: [60, 100, 140], on: [DOMAIN, DOMAIN]}"
LISTED = "it must be a list of domains of the data set that the grid does not attack"
FLATTERS = "chosen on reported images, it looks better than it is; choose on other domains, or take this one out of the grid"
PRESETS = "loss, secmi, s2l-paper, secmi_nns, pia, pian, sima, pfami, clid"
DOMAINS = "brundlo, fennolu, gwibbet, kuzzamo, mellune, ondrix, pexilla, quilbo, snorrel, tavrox, yivvek, zorvik"


def grid(choice: str, rest: str = "axes: {domain: [zorvik], method: [none]}") -> str:
    return f"name: g\nfixed: {{attacks: [loss, {{kind: choose, {choice}}}]}}\n{rest}"


# ruff: noqa: E501
WRONG = [
    ("neither among nor of", grid("on: [mellune]"), f"g.yaml:2: fixed.attacks[1]: {EITHER}"),
    ("both among and of", grid("among: [secmi, pia], of: secmi, on: [mellune]"), f"g.yaml:2: fixed.attacks[1]: {EITHER}"),
    (
        "one candidate",
        grid("among: [secmi], on: [mellune]"),
        "g.yaml:2: fixed.attacks[1]: a choice needs two candidates or more; got one: write the attack itself, or give another",
    ),
    (
        "one value of a knob",
        grid("of: secmi, t: [60], on: [mellune]"),
        "g.yaml:2: fixed.attacks[1]: a choice needs two candidates or more; got one: write the attack itself, or give another",
    ),
    (
        "the same twice",
        grid("among: [sima, secmi, {kind: secmi, t: 100}], on: [mellune]"),
        "g.yaml:2: fixed.attacks[1]: candidates 2 and 3 are the same; leave one out",
    ),
    (
        "candidates that are no list",
        grid("among: secmi, on: [mellune]"),
        'g.yaml:2: fixed.attacks[1].among: got "secmi"; it must be a list of attacks, such as [secmi, {kind: secmi, t: 60}]',
    ),
    (
        "an unknown candidate",
        grid("among: [secmi, simi], on: [mellune]"),
        f'g.yaml:2: fixed.attacks[1].among: [1]: unknown attack "simi"; allowed: {PRESETS}; did you mean "sima"?',
    ),
    (
        "a candidate that cannot be",
        grid("among: [secmi, {kind: secmi, t: 65}], on: [mellune]"),
        "g.yaml:2: fixed.attacks[1].among: [1]: t must be a multiple of k; got t=65, k=10; try t=60",
    ),
    (
        "a choice among choices",
        grid("among: [secmi, {kind: choose, among: [pia, sima], on: [mellune]}], on: [mellune]"),
        "g.yaml:2: fixed.attacks[1].among: [1]: a choice is no candidate of another; give attacks of the kinds loss, secmi, secmi_nns, pia, sima, pfami, clid",
    ),
    (
        "a knob beside among",
        grid("among: [secmi, pia], t: [60, 100], on: [mellune]"),
        'g.yaml:2: fixed.attacks[1]: unknown key "t"; allowed: kind, among, on, name',
    ),
    (
        "no knob",
        grid("of: secmi, on: [mellune]"),
        "g.yaml:2: fixed.attacks[1]: with `of`, one knob of secmi is a list of values to try; got none; knobs: t, k",
    ),
    (
        "two knobs",
        grid("of: secmi, t: [60, 100], k: [5, 10], on: [mellune]"),
        "g.yaml:2: fixed.attacks[1]: with `of`, one knob of secmi is a list of values to try; got t, k; knobs: t, k",
    ),
    (
        "an unknown knob",
        grid("of: loss, timestep: [60, 100], on: [mellune]"),
        'g.yaml:2: fixed.attacks[1]: unknown knob of loss "timestep"; allowed: timesteps, draws; did you mean "timesteps"?',
    ),
    (
        "a knob with one value",
        grid("of: secmi, t: 60, on: [mellune]"),
        "g.yaml:2: fixed.attacks[1].t: got 60; it must be a list of values to try",
    ),
    (
        "a value that a knob cannot have",
        grid("of: secmi, t: [60, many], on: [mellune]"),
        'g.yaml:2: fixed.attacks[1].t: got "many"; it must be a whole number',
    ),
    ("no calibration domains", grid("of: secmi, t: [60, 100]"), f"g.yaml:2: fixed.attacks[1].on: got null; {LISTED}"),
    (
        "a calibration domain that is no list",
        grid("of: secmi, t: [60, 100], on: mellune"),
        f'g.yaml:2: fixed.attacks[1].on: got "mellune"; {LISTED}',
    ),
    (
        "a domain that YAML reads as a number",
        grid("of: secmi, t: [60, 100], on: [7]"),
        f"g.yaml:2: fixed.attacks[1].on: got [7]; {LISTED} (quote a name that YAML reads as something else)",
    ),
    ("nothing to choose on", grid("of: secmi, t: [60, 100], on: []"), f"g.yaml:2: fixed.attacks[1].on: got []; {LISTED}"),
    (
        "a calibration domain twice",
        grid("of: secmi, t: [60, 100], on: [mellune, mellune]"),
        "g.yaml:2: fixed.attacks[1].on: mellune is given twice; leave one out",
    ),
    (
        "a calibration domain that is not there",
        grid("of: secmi, t: [60, 100], on: [melune]"),
        f'g.yaml:2: fixed.attacks: unknown domain of tiny-faces "melune"; allowed: {DOMAINS}; did you mean "mellune"?',
    ),
    (
        "a calibration domain that is attacked",
        grid("of: secmi, t: [60, 100], on: [mellune, zorvik]"),
        f"g.yaml:2: fixed.attacks: the attack secmi-chosen is chosen on zorvik, a domain of this grid: {FLATTERS}",
    ),
    (
        "a calibration domain that another method's model is turned on",
        grid("of: secmi, t: [60, 100], on: [mellune]", "axes: {domain: [zorvik], method: [lora], attack_domain: [tavrox, mellune]}"),
        f"g.yaml:2: fixed.attacks: the attack secmi-chosen is chosen on mellune, a domain of this grid: {FLATTERS}",
    ),
    (
        "a calibration domain that an added point attacks",
        grid(
            "of: secmi, t: [60, 100], on: [mellune]",
            "axes: {domain: [zorvik], method: [none]}\ninclude: [{domain: mellune, attacks: [pia]}]",
        ),
        f"g.yaml:2: fixed.attacks: the attack secmi-chosen is chosen on mellune, a domain of this grid: {FLATTERS}",
    ),
    (
        "every domain is one to choose on",
        grid(f"of: secmi, t: [60, 100], on: [{DOMAINS}]", "axes: {domain: [all], method: [none]}"),
        "g.yaml:3: axes.domain[0]: attacks are chosen on every domain of tiny-faces, so that none is left to attack; choose on fewer",
    ),
    (
        "a timestep that the model does not have",
        grid("of: secmi, t: [60, 990], name: late, on: [mellune]"),
        "g.yaml:2: fixed.attacks: the attack late (candidate 2) asks at timestep 1000; the model tiny has timesteps 0 to 999",
    ),
    (
        "captions compared where there is none",
        "name: g\nfixed: {caption: null, attacks: [{kind: choose, among: [pia, clid], on: [mellune]}]}\naxes: {domain: [zorvik], method: [none]}",
        "g.yaml:2: fixed.caption: the attack chosen (candidate 2) compares an image's caption with parts of it, and the null caption has none; attack with `own` or `domain`, or leave that attack out",
    ),
    (
        "two choices of one name",
        "name: g\nfixed: {attacks: [{kind: choose, of: pia, t: [60, 100], on: [mellune]}, {kind: choose, of: pian, t: [60, 100], on: [mellune]}]}\naxes: {domain: [zorvik], method: [none]}",
        'g.yaml:2: fixed.attacks: the attack "pia-chosen" is named twice; give one of them another `name`',
    ),
    (
        "one choice under two names",
        grid("of: pia, t: [60, 100], on: [mellune]}, {kind: choose, among: [{kind: pia, t: 60}, pia], on: [mellune], name: other"),
        'g.yaml:2: fixed.attacks: the attacks "pia-chosen" and "other" are the same; leave one out',
    ),
]


@pytest.mark.parametrize(("text", "message"), [pytest.param(text, message, id=what) for what, text, message in WRONG])
def test_a_wrong_choice_is_told_with_place_given_and_allowed(text: str, message: str) -> None:
    with pytest.raises(GridError) as caught:
        expand(parse_grid(text, "g.yaml"))
    assert str(caught.value) == message
    assert caught.value.exit_code == EXIT_INPUT


def test_the_grid_that_the_wrong_ones_are_made_from_is_right() -> None:
    assert len(expand(parse_grid(grid("of: secmi, t: [60, 100], on: [mellune]"), "g.yaml")).trials) == 1


FOLDER = """name: g
fixed: {{data: {data}, attacks: [{{kind: choose, of: pia, t: [60, 100], on: [zoe]}}]}}
axes: {{domain: [amy], method: [none]}}"""


def folder_of(where: Path, *, shared: bool) -> Path:
    """Two people; non-members are each one's own, or name nobody and so belong to both."""
    where.mkdir()
    rows = [("amy", True), ("zoe", True), *([("", False)] if shared else [("amy", False), ("zoe", False)])]
    for number, _ in enumerate(rows):
        Image.new("RGB", (8, 8), (30 * number, 9, 9)).save(where / f"{number}.png")
    lines = [
        {"file_name": f"{number}.png", "text": f"photo of {who}", "domain": who, "member": member}
        for number, (who, member) in enumerate(rows)
    ]
    (where / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return where


def test_non_members_of_everybody_have_no_say_in_a_choice(tmp_path: Path) -> None:
    with pytest.raises(GridError) as caught:
        expand(parse_grid(FOLDER.format(data=folder_of(tmp_path / "shared", shared=True)), "g.yaml"))
    assert str(caught.value) == (
        "g.yaml:2: fixed.attacks: the attack pia-chosen is chosen on zoe, and 1 of its images are images of domains that the grid attacks, "
        "too: chosen on reported images, it looks better than it is; give calibration domains images of their own (an image that names no "
        "domain is a non-member of all of them)"
    )
    assert len(expand(parse_grid(FOLDER.format(data=folder_of(tmp_path / "own", shared=False)), "g.yaml")).trials) == 1
