"""Methods, their settings and profiles that make no sense, each with the exact message that the user reads."""

from __future__ import annotations

import pytest

from jobs.errors import EXIT_INPUT, GridError
from jobs.grid.model import FIELDS
from jobs.grid.profile import LAID_OVER
from jobs.grid.read import parse_grid
from jobs.plan.expand import expand

SETTINGS, SECTIONS = ", ".join(FIELDS), ", ".join(LAID_OVER)
BASE = "name: g\naxes:\n  domain: [zorvik]\n  method: [none, lora, gaussian, textual-inversion]\n"


def spelled(method: str) -> str:
    """A grid of one method that is spelled out."""
    return f"name: g\nfixed: {{domain: zorvik}}\naxes:\n  method: [{method}]\n"


# ruff: noqa: E501
WRONG = [
    (
        "a negative sigma",
        "name: g\nfixed: {sigma: -0.1}",
        "g.yaml:2: fixed.sigma: got -0.1; it must be a number of at least 0, or the word match",
    ),
    (
        "a negative sigma spelled out",
        spelled("{adapters: [{kind: gaussian, sigma: -0.1}]}"),
        "g.yaml:4: axes.method[0]: adapters[0].sigma: got -0.1; it must be at least 0",
    ),
    (
        "a sigma in words",
        "name: g\nfixed: {sigma: matched}",
        'g.yaml:2: fixed.sigma: got "matched"; it must be a number of at least 0, or the word match',
    ),
    (
        "a sigma where no noise is",
        BASE + "  sigma: [0.1, 0.2]",
        "g.yaml:5: axes.sigma[0]: sigma is given for the method none, which adds no noise; say when it applies: when: {sigma: {method: [gaussian]}}",
    ),
    (
        "a fixed sigma that nothing uses",
        "name: g\nfixed: {sigma: 0.1}\naxes: {domain: [zorvik], method: [lora]}",
        "g.yaml:2: fixed.sigma: no method of this grid adds noise (lora); leave it out",
    ),
    (
        "a token where none is learned",
        "name: g\nfixed: {tokens: <a>}\naxes: {domain: [zorvik], method: [lora]}",
        "g.yaml:2: fixed.tokens: no method of this grid learns a token (lora); leave it out",
    ),
    (
        "a token without brackets",
        "name: g\nfixed: {tokens: [ada]}",
        'g.yaml:2: fixed.tokens[0]: got "ada"; a token is a word in angle brackets, such as <ada>',
    ),
    (
        "a token twice",
        "name: g\nfixed: {tokens: [<a>, <a>]}",
        "g.yaml:2: fixed.tokens: tokens must be distinct; got <a> more than once; give each its own name",
    ),
    ("tokens as a number", "name: g\nfixed: {tokens: 3}", "g.yaml:2: fixed.tokens: got 3; it must be a list of tokens, such as [<ada>]"),
    (
        "a start that is no word",
        "name: g\nfixed: {domain: zorvik, method: textual-inversion, start_from: zorvick}",
        "g.yaml:2: fixed.start_from: the model tiny: zorvick is no single token of the model's vocabulary, so that no row begins there; the nearest are zorvik, ondrix, portrait",
    ),
    (
        "a start spelled out that is no word",
        spelled("{adapters: [{kind: textual-inversion, start_from: zorvick}]}"),
        "g.yaml:4: axes.method[0]: the model tiny: zorvick is no single token of the model's vocabulary, so that no row begins there; the nearest are zorvik, ondrix, portrait",
    ),
    (
        "match_method that trains nothing",
        "name: g\nfixed: {match_method: none}",
        'g.yaml:2: fixed.match_method: got "none", which changes no weight of the base: name a method whose change the noise can be as long as',
    ),
    (
        "match_method that trains what the base has not",
        "name: g\nfixed: {match_method: textual-inversion}",
        (
            'g.yaml:2: fixed.match_method: got "textual-inversion", which changes no weight of the base: '
            "name a method whose change the noise can be as long as"
        ),
    ),
    (
        "match_method without match",
        "name: g\nfixed: {domain: zorvik, method: gaussian, match_method: lora}",
        "g.yaml:2: fixed.match_method: no point of this grid has `sigma: match`; leave it out",
    ),
    (
        "match_method beside a number",
        "name: g\nfixed: {domain: zorvik, method: gaussian}\naxes: {sigma: [0.1, match], match_method: [lora]}",
        "g.yaml:3: axes.match_method[0]: match_method is given where sigma is 0.1; it says what `sigma: match` is as long as",
    ),
    (
        "noise where the matched method changes nothing",
        "name: g\nfixed: {domain: zorvik, match_method: lora, method: {adapters: [{kind: gaussian, sigma: match, modules: [vae]}]}}",
        (
            "g.yaml:2: fixed.method: the noise is on vae, and what it is to be as long as changes unet, text_encoder alone; "
            "name one of those, or leave modules out"
        ),
    ),
    (
        "gaussian with a lora",
        spelled("{adapters: [{kind: gaussian}, {kind: lora}]}"),
        "g.yaml:4: axes.method[0]: adapters: adapter gaussian is noise in place of training and stands alone; got it with lora; leave one of them out",
    ),
    (
        "gaussian with an objective",
        spelled("{adapters: [{kind: gaussian}], objective: {kind: denoise}}"),
        "g.yaml:4: axes.method[0]: objective: gaussian trains nothing, so that no objective applies; leave it out",
    ),
    (
        "none with an objective",
        spelled("{adapters: [{kind: none}], objective: {kind: denoise}}"),
        "g.yaml:4: axes.method[0]: objective: none trains nothing, so that no objective applies; leave it out",
    ),
    (
        "gaussian with a prior",
        "name: g\nfixed: {domain: zorvik}\ninclude: [{method: gaussian, prior: true}]",
        "g.yaml:3: include[0].prior: prior is given for the method gaussian, which has no dreambooth objective; leave it out of this point",
    ),
    (
        "lora twice",
        spelled("{adapters: [{kind: lora}, {kind: lora}]}"),
        "g.yaml:4: axes.method[0]: adapters: adapter lora is given twice; allowed: each kind once",
    ),
    (
        "hypernetwork before lora",
        spelled("{adapters: [{kind: hypernetwork}, {kind: lora}]}"),
        "g.yaml:4: axes.method[0]: adapters: adapter lora comes after hypernetwork and would not see what it makes of the context; give lora first",
    ),
    (
        "lora before dense",
        spelled("{adapters: [{kind: lora}, {kind: dense}]}"),
        "g.yaml:4: axes.method[0]: adapters: adapter dense comes after lora and would train its layers too; give dense first",
    ),
    (
        "end-to-end without vae",
        spelled("{adapters: [{kind: dense}], objective: {kind: end-to-end}}"),
        "g.yaml:4: axes.method[0]: objective: end-to-end trains the autoencoder on its own loss, and these adapters leave it as it is; train it (dense with modules: [unet, text_encoder, vae], or a LoRA with vae_targets), or take the objective denoise",
    ),
    (
        "vae without end-to-end",
        spelled("{adapters: [{kind: dense, modules: [unet, vae]}]}"),
        "g.yaml:4: axes.method[0]: objective: denoise sends the autoencoder no gradient, and these adapters train it; take the objective end-to-end, or leave the vae out",
    ),
    (
        "vae lora without end-to-end",
        spelled("{adapters: [{kind: lora, vae_targets: [to_q]}]}"),
        "g.yaml:4: axes.method[0]: objective: denoise sends the autoencoder no gradient, and these adapters train it; take the objective end-to-end, or leave the vae out",
    ),
    (
        "lora without targets",
        spelled("{adapters: [{kind: lora, unet_targets: [], text_encoder_targets: []}]}"),
        "g.yaml:4: axes.method[0]: adapters[0]: a LoRA needs a target; name projections under unet_targets, such as [to_q, to_v]",
    ),
    (
        "unknown projection",
        spelled("{adapters: [{kind: lora, unet_targets: [to_qq]}]}"),
        "g.yaml:4: axes.method[0]: the model tiny: no projection of the unet is called 'to_qq'; the nearest are to_q, to_v, to_k",
    ),
    (
        "a rank over a layer",
        spelled("{adapters: [{kind: lora, rank: 100}]}"),
        "g.yaml:4: axes.method[0]: the model tiny: rank 100 is larger than unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q, whose rank is 64 at most; give a rank of 1 to 64",
    ),
    (
        "template without name",
        spelled("{adapters: [{kind: textual-inversion}], objective: {kind: templates, templates: ['photo of {name}', a photo]}}"),
        'g.yaml:4: axes.method[0]: objective.templates[1]: got "a photo"; a prompt holds {name} for the domain\'s name, and no other braces',
    ),
    ("rounds 0", "name: g\nfixed: {rounds: 0}", "g.yaml:2: fixed.rounds: got 0; it must be greater than 0"),
    (
        "attack_domain typo",
        "name: g\nfixed: {domain: zorvik, method: lora}\naxes: {attack_domain: [zorvik, tavrux]}",
        'g.yaml:3: axes.attack_domain[1]: unknown domain of tiny-faces "tavrux"; allowed: brundlo, fennolu, gwibbet, kuzzamo, mellune, ondrix, pexilla, quilbo, snorrel, tavrox, yivvek, zorvik; did you mean "tavrox"?',
    ),
    (
        "warm-up as long as training",
        "name: g\nfixed: {domain: zorvik, method: lora, steps: 10, warmup: 10}",
        "g.yaml:2: fixed.warmup: the warm-up has 10 steps and the training 10, so that the learning rate never gets to its value; make it shorter",
    ),
    ("clip 0", "name: g\nfixed: {clip: 0}", "g.yaml:2: fixed.clip: got 0; it must be a number greater than 0, or the word none"),
    ("ema 1", "name: g\nfixed: {ema: 1}", "g.yaml:2: fixed.ema: got 1; it must be a number between 0 and 1, or the word none"),
    (
        "snr",
        "name: g\nfixed: {snr_gamma: high}",
        'g.yaml:2: fixed.snr_gamma: got "high"; it must be a number greater than 0, or the word none',
    ),
    (
        "schedule",
        "name: g\nfixed: {schedule: cosin}",
        'g.yaml:2: fixed.schedule: got "cosin"; allowed: constant, linear, cosine; did you mean "cosine"?',
    ),
    (
        "noise layers",
        "name: g\nfixed: {noise_layers: atention}",
        'g.yaml:2: fixed.noise_layers: got "atention"; allowed: all, attention, linear, convolution, norm, embedding; did you mean "attention"?',
    ),
    (
        "replace-name caption",
        "name: g\nfixed: {caption: {kind: replace-name, name: a, token: b}}",
        'g.yaml:2: fixed.caption: got {"kind": "replace-name", "name": "a", "token": "b"}; trials that learn a token show it by themselves; allowed: own, domain, null',
    ),
    (
        "sigma spelled twice",
        "name: g\nfixed: {sigma: 0.1}\naxes:\n  domain: [zorvik]\n  method: [{name: loud, adapters: [{kind: gaussian, sigma: 0.3}]}]",
        "g.yaml:2: fixed.sigma: sigma is spelled out in the method loud too; keep one of them",
    ),
    (
        "by_method unknown",
        BASE + "by_method: {lorra: {lr: 1}}",
        'g.yaml:5: by_method.lorra: unknown method of this grid "lorra"; allowed: none, lora, gaussian, textual-inversion; did you mean "lora"?',
    ),
    (
        "by_method unknown setting",
        BASE + "by_method: {lora: {lrr: 1}}",
        f'g.yaml:5: by_method.lora.lrr: unknown setting "lrr"; allowed: {SETTINGS}; did you mean "lr"?',
    ),
    (
        "by_method list",
        BASE + "by_method: {lora: {lr: [1, 2]}}",
        "g.yaml:5: by_method.lora.lr: got the list [1, 2]; one value a method: move lr to axes, under a condition",
    ),
    (
        "by_method no mapping",
        BASE + "by_method: {lora: 1e-4}",
        'g.yaml:5: by_method.lora: got "1e-4"; give a mapping of settings to values, such as {lr: 1e-4}',
    ),
    (
        "by_method axis",
        BASE + "  seed: [0]\n  lr: [1, 2]\nby_method: {lora: {lr: 1}}",
        "g.yaml:7: by_method.lora.lr: lr is given under axes too; keep one of them",
    ),
    (
        "by_method lacks",
        BASE + "by_method: {textual-inversion: {rank: 1}}",
        "g.yaml:5: by_method.textual-inversion.rank: the method textual-inversion trains no LoRA; leave rank out",
    ),
    ("by_method method", BASE + "by_method: {lora: {method: none}}", "g.yaml:5: by_method.lora.method: method cannot depend on the method"),
    ("by_method seed", BASE + "by_method: {lora: {seed: 1}}", "g.yaml:5: by_method.lora.seed: seed cannot depend on the method"),
    (
        "profiles list",
        BASE + "profiles: [tiny]",
        f'g.yaml:5: profiles: got ["tiny"]; profiles is a mapping of names to sections ({SECTIONS})',
    ),
    ("profile null", BASE + "profiles: {tiny: }", f"g.yaml:5: profiles.tiny: got null; a profile is a mapping with {SECTIONS}"),
    (
        "profile key",
        BASE + "profiles: {tiny: {fixd: {}}}",
        f'g.yaml:5: profiles.tiny.fixd: unknown key of a profile "fixd"; allowed: {SECTIONS}; did you mean "fixed"?',
    ),
    (
        "profile setting",
        BASE + "profiles:\n  tiny: {}\n  big:\n    fixed: {lrr: 1}",
        f'g.yaml:8: fixed.lrr: unknown setting "lrr"; allowed: {SETTINGS}; did you mean "lr"?',
    ),
    (
        "profile value",
        BASE + "profiles:\n  tiny: {}\n  big:\n    axes:\n      seed: [0, x]",
        'g.yaml:9: axes.seed[1]: got "x"; it must be a whole number',
    ),
    (
        "profile zip",
        BASE + "zip: {seed: [0, 1], sp_seed: [0, 1]}\nprofiles:\n  tiny:\n    axes: {seed: [2]}",
        "g.yaml:8: profiles.tiny.axes.seed: seed moves together with others in a zip group; give the whole group under the profile's zip",
    ),
    ("profile name", BASE + "profiles: {'a b': {}}", 'g.yaml:5: profiles.a b: got the name "a b"; letters, digits and dashes are allowed'),
    ("profile empty", BASE + "profiles: {}", f"g.yaml:5: profiles: got {{}}; profiles is a mapping of names to sections ({SECTIONS})"),
]


@pytest.mark.parametrize(("text", "message"), [pytest.param(text, message, id=what) for what, text, message in WRONG])
def test_a_wrong_method_or_profile_is_told_with_place_given_and_allowed(text: str, message: str) -> None:
    with pytest.raises(GridError) as caught:
        expand(parse_grid(text, "g.yaml"))
    assert str(caught.value) == message
    assert caught.value.exit_code == EXIT_INPUT


def test_the_grid_that_the_wrong_ones_are_made_from_is_right() -> None:
    assert len(expand(parse_grid(BASE, "g.yaml")).trials) == 4
