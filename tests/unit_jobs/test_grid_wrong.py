"""Grids that make no sense, each with the exact message that the user reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import EXIT_INPUT, GridError
from jobs.grid.check import SECTIONS
from jobs.grid.model import FIELDS
from jobs.grid.presets import METHODS, PROMPTS
from jobs.grid.read import parse_grid, read_grid
from jobs.plan.expand import expand

SETTINGS = ", ".join(FIELDS)
KEYS, PRESETS, PROMPT_PRESETS = (", ".join(names) for names in (SECTIONS, METHODS, PROMPTS))
OK = "name: g\nfixed: {lr: 1e-3}\naxes:\n  domain: [zorvik]\n  method: [none, lora]\n"
MANY = str(list(range(2000)))
LETTERS = "abcdefgh"
BOMB = "\n".join(
    f"{name}: &{name} [{', '.join([f'*{LETTERS[number - 1]}' if number else '1'] * 9)}]" for number, name in enumerate(LETTERS)
)

# ruff: noqa: E501
WRONG = [
    (
        "a grid without a name",
        "axes: {domain: [zorvik], method: [none]}",
        "g.yaml: name is missing; a grid has a name of letters, digits and dashes",
    ),
    (
        "a name with a space",
        "name: my grid!\naxes: {domain: [zorvik], method: [none]}",
        'g.yaml:1: name: got "my grid!"; letters, digits and dashes are allowed (at most 64); try "my-grid"',
    ),
    (
        "an unknown key",
        OK + "axis: {}",
        f'g.yaml:6: axis: unknown key "axis"; allowed: {KEYS}; did you mean "axes"?',
    ),
    (
        "a setting at the top",
        OK + "seed: 3",
        f'g.yaml:6: seed: unknown key "seed"; allowed: {KEYS}; seed is a setting: write it under fixed or axes',
    ),
    ("an unknown axis", OK + "  sed: [1]", f'g.yaml:6: axes.sed: unknown setting "sed"; allowed: {SETTINGS}; did you mean "seed"?'),
    (
        "another program's name for a setting",
        "name: g\nfixed: {learning_rate: 1}",
        f'g.yaml:2: fixed.learning_rate: unknown setting "learning_rate"; allowed: {SETTINGS}; here it is called lr',
    ),
    ("an empty axis", OK + "  seed: []", "g.yaml:6: axes.seed: the list of seed is empty; give it a value or leave it out"),
    ("an axis that is no list", OK + "  seed: 3", "g.yaml:6: axes.seed: got 3; an axis is a list of values: [3], or move seed to fixed"),
    (
        "a list under fixed",
        "name: g\nfixed: {seed: [1, 2]}",
        "g.yaml:2: fixed.seed: got the list [1, 2]; a fixed setting has one value: move seed to axes",
    ),
    ("a value twice", OK + "  seed: [0, 1, 0]", "g.yaml:6: axes.seed[2]: 0 is given twice; leave one out"),
    ("a value twice in two spellings", OK + "  guidance: [1.0, 2, 1e0]", 'g.yaml:6: axes.guidance[2]: "1e0" is given twice; leave one out'),
    ("a setting both fixed and an axis", OK + "  lr: [1e-3]", "g.yaml:2: fixed.lr: lr is given under axes too; keep one of them"),
    ("a YAML key twice", OK + "  method: [none]", 'g.yaml:6: the key "method" is given twice; first in line 5'),
    (
        "a python tag",
        OK + "  seed: [!!python/object/apply:os.system [ls]]",
        "g.yaml:6: the YAML tag !!python/object/apply:os.system is refused; grid files hold plain values, lists and mappings only",
    ),
    ("no YAML", "name: g\naxes: {domain: [", "g.yaml:3: this is not YAML: did not find expected node content"),
    ("a list", "- a", f'g.yaml: a grid file is a mapping with the keys {KEYS}; got ["a"]'),
    ("an empty file", "", f"g.yaml: a grid file is a mapping with the keys {KEYS}; got null"),
    (
        "no domain",
        "name: g\naxes: {method: [none]}",
        "g.yaml: domain is missing; give it under fixed or axes. The person or subject whose leakage is measured: a domain of the data set; `[all]` under axes is all of them.",
    ),
    (
        "no method",
        "name: g\naxes: {domain: [zorvik]}",
        "g.yaml: method is missing; give it under fixed or axes. How the model is fine-tuned: a preset's name, or a mapping that spells out adapters and objective.",
    ),
    (
        "an unknown method",
        "name: g\nfixed: {lr: 1e-3}\naxes:\n  domain: [zorvik]\n  method: [none, dreamboth]\n",
        f'g.yaml:5: axes.method[1]: unknown method "dreamboth"; allowed: {PRESETS}; did you mean "dreambooth"?',
    ),
    (
        "an unknown domain",
        "name: g\nfixed: {lr: 1e-3}\naxes:\n  domain: [zorvic]\n  method: [none, lora]\n",
        'g.yaml:4: axes.domain[0]: unknown domain of tiny-faces "zorvic"; allowed: brundlo, fennolu, gwibbet, kuzzamo, mellune, ondrix, pexilla, quilbo, snorrel, tavrox, yivvek, zorvik; did you mean "zorvik"?',
    ),
    (
        "an unknown attack",
        "name: g\nfixed: {attacks: [secmi, pias]}\naxes: {domain: [zorvik], method: [none]}",
        'g.yaml:2: fixed.attacks: unknown attack "pias"; allowed: loss, secmi, s2l-paper, secmi_nns, pia, pian, sima, pfami, clid; did you mean "pia"?',
    ),
    (
        "an attack twice",
        "name: g\nfixed: {attacks: [secmi, secmi]}\naxes: {domain: [zorvik], method: [none]}",
        'g.yaml:2: fixed.attacks: the attack "secmi" is named twice; give one of them another `name`',
    ),
    (
        "an attack under two names",
        "name: g\nfixed: {attacks: [secmi, {kind: secmi, name: other}]}\naxes: {domain: [zorvik], method: [none]}",
        'g.yaml:2: fixed.attacks: the attacks "secmi" and "other" are the same; leave one out',
    ),
    (
        "an unknown key of an attack",
        "name: g\nfixed: {attacks: [{kind: secmi, tt: 60}]}\naxes: {domain: [zorvik], method: [none]}",
        'g.yaml:2: fixed.attacks[0]: unknown key "tt"; allowed: kind, access, t, k; did you mean "t"?',
    ),
    (
        "a timestep that is no multiple",
        "name: g\nfixed: {attacks: [{kind: secmi, t: 65}]}\naxes: {domain: [zorvik], method: [none]}",
        "g.yaml:2: fixed.attacks[0]: t must be a multiple of k; got t=65, k=10; try t=60",
    ),
    (
        "an unknown kind of attack",
        "name: g\nfixed: {attacks: [{kind: secmy}]}\naxes: {domain: [zorvik], method: [none]}",
        'g.yaml:2: fixed.attacks[0]: unknown kind "secmy"; allowed: loss, secmi, secmi_nns, pia, sima, pfami, clid, choose; did you mean "secmi"?',
    ),
    (
        "an attack without a kind",
        "name: g\nfixed: {attacks: [{t: 60}]}\naxes: {domain: [zorvik], method: [none]}",
        "g.yaml:2: fixed.attacks[0]: `kind` is missing; allowed: loss, secmi, secmi_nns, pia, sima, pfami, clid, choose",
    ),
    (
        "a timestep that is no number",
        "name: g\nfixed: {attacks: [{kind: secmi, t: many}]}\naxes: {domain: [zorvik], method: [none]}",
        'g.yaml:2: fixed.attacks[0].t: got "many"; it must be a whole number',
    ),
    ("a seed that is no number", OK + "  seed: [zero]", 'g.yaml:6: axes.seed[0]: got "zero"; it must be a whole number'),
    ("a negative seed", OK + "  seed: [-1]", "g.yaml:6: axes.seed[0]: got -1; it must be at least 0"),
    ("a seed that YAML reads as a bool", OK + "  seed: [true]", "g.yaml:6: axes.seed[0]: got true; it must be a whole number"),
    ("a seed of 20 digits", OK + f"  seed: [{10**19}]", f"g.yaml:6: axes.seed[0]: got {10**19}; it must be less than 1e+18"),
    (
        "FPRs that print alike",
        "name: g\nfixed: {fprs: [0.01, 0.010000001]}",
        "g.yaml:2: fixed.fprs[1]: 0.010000001 is given twice, as far as six digits tell",
    ),
    ("half a seed", OK + "  seed: [0.5]", "g.yaml:6: axes.seed[0]: got 0.5; it must be a whole number"),
    ("a learning rate in words", "name: g\nfixed: {lr: fast}", 'g.yaml:2: fixed.lr: got "fast"; it must be a number'),
    ("a learning rate of zero", "name: g\nfixed: {lr: 0}", "g.yaml:2: fixed.lr: got 0; it must be greater than 0"),
    ("an infinite learning rate", "name: g\nfixed: {lr: .inf}", "g.yaml:2: fixed.lr: got Infinity; it must be a finite number"),
    (
        "an alpha that is neither number nor rank",
        "name: g\nfixed: {alpha: ranks}",
        'g.yaml:2: fixed.alpha: got "ranks"; it must be a number greater than 0, or the word rank',
    ),
    ("a dropout above 1", "name: g\nfixed: {dropout: 1.5}", "g.yaml:2: fixed.dropout: got 1.5; it must be less than 1"),
    (
        "a domain that YAML reads as a number",
        "name: g\naxes: {domain: [7], method: [none]}",
        "g.yaml:2: axes.domain[0]: got 7; it must be text (quote it if YAML reads it as something else)",
    ),
    (
        "an unknown precision",
        "name: g\nfixed: {precision: fp23}",
        'g.yaml:2: fixed.precision: got "fp23"; allowed: fp32, bf16, fp16; did you mean "fp32"?',
    ),
    (
        "an unknown train_on",
        "name: g\nfixed: {train_on: member}",
        'g.yaml:2: fixed.train_on: got "member"; allowed: sp, members, unrelated; did you mean "members"?',
    ),
    (
        "an unknown caption",
        "name: g\nfixed: {caption: owm}",
        'g.yaml:2: fixed.caption: unknown caption "owm"; allowed: own, domain, null; did you mean "own"?; or a mapping such as {kind: automatic, captioner: colours}',
    ),
    (
        "automatic captions of nobody",
        "name: g\nfixed: {caption: automatic}",
        'g.yaml:2: fixed.caption: got "automatic", which does not say who writes the captions; name a captioner: {kind: automatic, captioner: colours}, or {kind: blip, model: FOLDER}',
    ),
    (
        "automatic captions without a captioner",
        "name: g\nfixed: {caption: {kind: automatic}}",
        "g.yaml:2: fixed.caption: caption.captioner: is missing; name one: {kind: automatic, captioner: colours}, or {kind: blip, model: FOLDER}",
    ),
    (
        "an unknown captioner",
        OK + "  caption: [own, {kind: automatic, captioner: colors}]",
        'g.yaml:6: axes.caption[1]: caption.captioner: unknown captioner "colors"; allowed: colours; did you mean "colours"?; or a mapping such as {kind: blip, model: FOLDER}',
    ),
    (
        "an unknown kind of captioner",
        "name: g\nfixed: {caption: {kind: automatic, captioner: {kind: blipp}}}",
        'g.yaml:2: fixed.caption: caption.captioner: unknown kind "blipp"; allowed: colours, blip; did you mean "blip"?',
    ),
    (
        "a captioner's knob beside the captioner",
        "name: g\nfixed: {caption: {kind: automatic, captioner: colours, most: 2}}",
        'g.yaml:2: fixed.caption: caption: unknown key "most"; allowed: kind, captioner; knobs of a captioner stand under captioner',
    ),
    (
        "a captioner that is a number",
        "name: g\nfixed: {caption: {kind: automatic, captioner: 3}}",
        "g.yaml:2: fixed.caption: caption.captioner: got 3; it must be a mapping with a `kind`: colours, blip",
    ),
    (
        "a BLIP without a folder",
        "name: g\nfixed: {caption: {kind: automatic, captioner: {kind: blip}}}",
        "g.yaml:2: fixed.caption: caption.captioner.model: is missing",
    ),
    (
        "a BLIP that is not there",
        OK + "  caption: [{kind: automatic, captioner: {kind: blip, model: ./nowhere}}]",
        "g.yaml:6: axes.caption[0]: there is no model folder ./nowhere",
    ),
    (
        "a BLIP that is no folder's name",
        OK + "  caption: [{kind: automatic, captioner: {kind: blip, model: nowhere}}]",
        'g.yaml:6: axes.caption[0]: unknown model "nowhere"; allowed: a folder in the transformers layout, or org/name@revision on the hub',
    ),
    (
        "a prompt that names a domain",
        "name: g\nfixed: {caption: {kind: automatic, captioner: {kind: blip, model: b, prompt: 'a {name} of'}}}",
        'g.yaml:2: fixed.caption: caption.captioner.prompt: got "a {name} of"; all domains are captioned alike, so no braces here',
    ),
    (
        "a BLIP that ends before it begins",
        "name: g\nfixed: {caption: {kind: automatic, captioner: {kind: blip, model: b, max_tokens: 4}}}",
        "g.yaml:2: fixed.caption: caption.captioner: min_tokens must be at most max_tokens; got min_tokens=5, max_tokens=4",
    ),
    (
        "no beam",
        "name: g\nfixed: {caption: {kind: automatic, captioner: {kind: blip, model: b, beams: 0}}}",
        "g.yaml:2: fixed.caption: caption.captioner.beams: got 0; it must be greater than 0",
    ),
    ("an FPR of 1", "name: g\nfixed: {fprs: [1]}", "g.yaml:2: fixed.fprs[0]: got 1; it must be between 0 and 1 (1 % is 0.01)"),
    ("an FPR in words", "name: g\nfixed: {fprs: [low]}", 'g.yaml:2: fixed.fprs[0]: got "low"; it must be a number between 0 and 1'),
    ("too few bootstrap draws", "name: g\nfixed: {bootstrap: 10}", "g.yaml:2: fixed.bootstrap: got 10; it must be at least 100"),
    (
        "an unknown prompt preset",
        "name: g\nfixed: {sp_prompts: foto}",
        f'g.yaml:2: fixed.sp_prompts: unknown prompt preset "foto"; allowed: {PROMPT_PRESETS}; did you mean "photo"?; or a list of texts with {{name}}',
    ),
    (
        "a prompt with another brace",
        "name: g\nfixed: {sp_prompts: ['photo of {nam}']}",
        'g.yaml:2: fixed.sp_prompts[0]: got "photo of {nam}"; {name} stands for the domain\'s name, and no other braces are allowed',
    ),
    (
        "zip lists of unequal length",
        OK + "zip: {seed: [0, 1], sp_seed: [0]}",
        "g.yaml:6: zip: the lists of a zip group must be equally long; seed has 2, sp_seed has 1",
    ),
    ("a zip of one", OK + "zip: {seed: [0, 1]}", "g.yaml:6: zip: a zip group needs two settings or more; got seed: write it under axes"),
    (
        "a zip row twice",
        OK + "zip: {seed: [0, 0], sp_seed: [1, 1]}",
        "g.yaml:6: zip: entry 2 of the zip group repeats entry 1; leave one out",
    ),
    (
        "a setting zipped and an axis",
        OK + "  seed: [0]\nzip: {seed: [0, 1], sp_seed: [0, 1]}",
        "g.yaml:7: zip.seed: seed is given under axes too; keep one of them",
    ),
    (
        "a rank for a method without LoRA",
        OK + "  rank: [1, 8]",
        "g.yaml:6: axes.rank[0]: rank is given for the method none, which trains no LoRA; say when it applies: when: {rank: {method: [lora]}}",
    ),
    (
        "a fixed rank that nothing uses",
        "name: g\nfixed: {rank: 4}\naxes: {domain: [zorvik], method: [none, dreambooth]}",
        "g.yaml:2: fixed.rank: no method of this grid trains a LoRA (none, dreambooth); leave it out",
    ),
    (
        "a fixed prior that nothing uses",
        "name: g\nfixed: {prior: true}\naxes: {domain: [zorvik], method: [lora]}",
        "g.yaml:2: fixed.prior: no method of this grid has the dreambooth objective (lora); leave it out",
    ),
    (
        "a prior for a method without dreambooth",
        "name: g\naxes: {domain: [zorvik], method: [lora], prior: [true, false]}",
        "g.yaml:2: axes.prior[0]: prior is given for the method lora, which has no dreambooth objective; say when it applies: when: {prior: {method: [dreambooth, lora+dreambooth]}}",
    ),
    (
        "a condition that is no mapping",
        OK + "  rank: [1]\nwhen: {rank: lora}",
        'g.yaml:7: when.rank: got "lora"; a condition is a mapping of settings to values, such as {method: [lora, lora+dreambooth]}',
    ),
    (
        "a condition on what has no value",
        OK + "when: {rank: {method: lora}}",
        "g.yaml:6: when.rank: rank has no value anywhere in this grid; give it under axes or fixed, or leave the condition out",
    ),
    (
        "a condition on an unknown setting",
        OK + "  rank: [1]\nwhen: {rank: {methud: lora}}",
        f'g.yaml:7: when.rank.methud: unknown setting "methud"; allowed: {SETTINGS}; did you mean "method"?',
    ),
    (
        "a condition that never holds",
        OK + "  rank: [1]\nwhen: {rank: {method: lora+dreambooth}}",
        "g.yaml:7: when.rank: holds for no point of the grid, so that rank is never used; mend it or leave it out",
    ),
    (
        "conditions in a circle",
        OK + "  rank: [1]\n  alpha: [2]\nwhen: {rank: {alpha: 2}, alpha: {rank: 1}}",
        "g.yaml:8: when.rank: the conditions of rank, alpha depend on each other in a circle",
    ),
    ("a condition on itself", OK + "  rank: [1]\nwhen: {rank: {rank: 1}}", "g.yaml:7: when.rank: rank cannot depend on itself"),
    (
        "a conditional method",
        OK + "when: {method: {domain: zorvik}}",
        "g.yaml:6: when.method: method is needed by every trial; it cannot be conditional",
    ),
    (
        "an exclude that matches nothing",
        OK + "exclude: [{domain: mellune}]",
        "g.yaml:6: exclude[0]: matches no point of the grid; mend it or leave it out",
    ),
    ("an exclude that matches all", OK + "exclude: [{domain: zorvik}]", "g.yaml:6: exclude: no trial is left; exclude fewer points"),
    (
        "an include that is in the grid",
        OK + "include: [{method: none}]",
        "g.yaml:6: include[0]: the point domain=zorvik, method=none is in the grid already; leave it out",
    ),
    (
        "an include with a rank and no LoRA",
        OK + "include: [{method: none, rank: 4}]",
        "g.yaml:6: include[0].rank: rank is given for the method none, which trains no LoRA; leave it out of this point",
    ),
    (
        "an include that is no list",
        OK + "include: {method: none}",
        'g.yaml:6: include: got {"method": "none"}; include is a list of mappings',
    ),
    (
        "an include of half a zip group",
        "name: g\naxes: {domain: [zorvik], method: [none]}\nzip: {seed: [0, 1], sp_seed: [0, 1]}\ninclude: [{method: lora, seed: 5}]",
        "g.yaml:4: include[0]: seed moves together with sp_seed; give all of them",
    ),
    (
        "steps and epochs",
        "name: g\nfixed: {steps: 5, epochs: 6}\naxes: {domain: [zorvik], method: [lora]}",
        "g.yaml:2: fixed.epochs: steps (5) and epochs (6) are both given; keep one of them",
    ),
    (
        "an unknown key of an adapter",
        "name: g\naxes:\n  domain: [zorvik]\n  method: [{adapters: [{kind: lora, rnk: 4}]}]",
        'g.yaml:4: axes.method[0]: adapters[0]: unknown key "rnk"; allowed: kind, rank, alpha, dropout, unet_targets, text_encoder_targets, vae_targets; did you mean "rank"?',
    ),
    (
        "an unknown key of a method",
        "name: g\naxes:\n  domain: [zorvik]\n  method: [{adaptors: [{kind: lora}]}]",
        'g.yaml:4: axes.method[0]: unknown key of a method "adaptors"; allowed: name, adapters, objective; did you mean "adapters"?',
    ),
    (
        "a method without adapters",
        "name: g\naxes:\n  domain: [zorvik]\n  method: [{adapters: []}]",
        "g.yaml:4: axes.method[0]: adapters: got []; it must be a list of mappings with a `kind`: none, dense, lora, textual-inversion, hypernetwork, gaussian",
    ),
    (
        "none beside a LoRA",
        "name: g\naxes:\n  domain: [zorvik]\n  method: [{adapters: [{kind: none}, {kind: lora}]}]",
        "g.yaml:4: axes.method[0]: adapters: adapter none trains nothing and stands alone; got it with lora; leave one of them out",
    ),
    (
        "a method named like a preset",
        "name: g\naxes:\n  domain: [zorvik]\n  method: [{name: lora, adapters: [{kind: lora}]}]",
        'g.yaml:4: axes.method[0]: name: got "lora", which is a preset\'s name; choose another',
    ),
    (
        "a rank said twice",
        "name: g\nfixed: {rank: 4}\naxes:\n  domain: [zorvik]\n  method: [{name: wide, adapters: [{kind: lora, rank: 9}]}]",
        "g.yaml:2: fixed.rank: rank is spelled out in the method wide too; keep one of them",
    ),
    (
        "two methods of one name",
        "name: g\naxes:\n  domain: [zorvik]\n  method: [{name: wide, adapters: [{kind: lora}]}, {name: wide, adapters: [{kind: dense}]}]",
        'g.yaml:4: axes.method[1]: "wide" means something else than at g.yaml:4: axes.method[0]; give one of them another `name`',
    ),
    (
        "two methods of one name, one of them included",
        (
            "name: g\naxes:\n  domain: [zorvik]\n  method: [{name: a, adapters: [{kind: lora, rank: 2}]}]\ninclude:\n"
            "  - {domain: mellune, method: {name: a, adapters: [{kind: lora, rank: 4}]}}"
        ),
        'g.yaml:6: include[0].method: "a" means something else than at g.yaml:4: axes.method[0]; give one of them another `name`',
    ),
    (
        "two attacks of one name",
        (
            "name: g\nfixed: {attacks: [{kind: secmi, t: 60, name: early}, loss]}\naxes: {domain: [zorvik], method: [none]}\ninclude:\n"
            "  - {domain: mellune, attacks: [{kind: secmi, t: 100, name: early}]}"
        ),
        'g.yaml:5: include[0].attacks: "early" means something else than at g.yaml:2: fixed.attacks; give one of them another `name`',
    ),
    (
        "a method that is a number",
        "name: g\naxes:\n  domain: [zorvik]\n  method: [3]",
        f"g.yaml:4: axes.method[0]: unknown method 3; allowed: {PRESETS}; or a mapping with adapters and objective",
    ),
    (
        "an unknown key of prior",
        "name: g\nfixed: {prior: {imges: 3}}",
        'g.yaml:2: fixed.prior: prior: unknown key "imges"; allowed: weight, class_prompt, images; did you mean "images"?',
    ),
    (
        "a prior in words",
        "name: g\nfixed: {prior: yess}",
        'g.yaml:2: fixed.prior: got "yess"; it must be true, false, or a mapping with weight, class_prompt, images',
    ),
    (
        "a merge key",
        "name: g\nfixed: &a {seed: 1}\naxes: {<<: *a}",
        "g.yaml:3: merge keys (<<) are not part of grid files; write the values out",
    ),
    ("an alias bomb", BOMB, "g.yaml:1: the aliases of this file expand too far; write the values out"),
    (
        "a product too large",
        "name: g\naxes: {domain: [zorvik], method: [none], seed: " + MANY + ", sp_seed: " + MANY + "}",
        "g.yaml:2: axes: the product has 4,000,000 points; at most 1,000,000. Split the grid or shorten its axes",
    ),
    ("an alias of itself", "a: &a [*a]", "g.yaml:1: the aliases of this file expand too far; write the values out"),
    ("axes as a list", "name: g\naxes: [domain]", 'g.yaml:2: axes: got ["domain"]; axes is a mapping'),
    ("when as a list", "name: g\naxes: {domain: [zorvik], method: [none]}\nwhen: [a]", 'g.yaml:3: when: got ["a"]; when is a mapping'),
]


@pytest.mark.parametrize(("text", "message"), [pytest.param(text, message, id=what) for what, text, message in WRONG])
def test_a_wrong_grid_is_told_with_place_given_and_allowed(text: str, message: str) -> None:
    with pytest.raises(GridError) as caught:
        expand(parse_grid(text, "g.yaml"))
    assert str(caught.value) == message
    assert caught.value.exit_code == EXIT_INPUT


def test_the_grid_that_the_wrong_ones_are_made_from_is_right() -> None:
    assert len(expand(parse_grid(OK, "g.yaml")).trials) == 2


def test_a_misspelt_shipped_name_lists_the_shipped_ones() -> None:
    with pytest.raises(GridError, match=r'quickstrat: no such grid; give a YAML path or a shipped name: .*; did you mean "quickstart"\?'):
        read_grid("quickstrat")


def test_a_folder_is_no_grid(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="is a folder, not a grid file"):
        read_grid(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(GridError, match="is not UTF-8 text"):
        read_grid(tmp_path / "g.yaml")
