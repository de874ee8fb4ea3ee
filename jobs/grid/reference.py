"""The reference of grid files, from the models. `python -m jobs.grid.reference > docs/grid-reference.md` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jobs.grid.captions import CaptionerSetting, CaptionSetting
from jobs.grid.choose import GridAttack
from jobs.grid.model import LIST_FIELDS, ExtractionSettings, FidelityFeatures, MethodSpec, Point
from jobs.grid.presets import DEFENCES, METHODS, PROMPTS, PUBLISHED_EPOCHS
from jobs.grid.read_method import trains
from jobs.grid.read_spec import kinds_of
from jobs.policy import RetryPolicy
from s2l_core.specs.adapters import AdapterSpec
from s2l_core.specs.attacks import ATTACK_PRESETS
from s2l_core.specs.base import Spec
from s2l_core.specs.defences import DefenceSpec
from s2l_core.specs.fidelity import FEATURE_PRESETS
from s2l_core.specs.memorisation import MemorisationSpec
from s2l_core.specs.objectives import ObjectiveSpec, PriorPreservation

_HEAD = """# Grid files

<!-- Written by `python -m jobs.grid.reference`; edit the models in jobs/grid instead. -->

A grid file is a YAML mapping. One point of it is one trial: a domain, a way to fine-tune, a seed.

```yaml
name: ranks                              # letters, digits, dashes
fixed: {alpha: rank, lr: 1e-4}           # settings that all trials share
axes:                                    # the product, in this order
  domain: [zorvik, mellune]
  method: [none, dreambooth, lora+dreambooth]
  rank: [1, 8]
  seed: [0, 1, 2]
when:                                    # rank is absent elsewhere, and multiplies nothing there
  rank: {method: lora+dreambooth}
include:                                 # settings not named take all the grid's values
  - {method: dreambooth, train_on: members}
exclude:                                 # points left out of the product
  - {domain: mellune, seed: 2}
```

| key | what it holds |
|---|---|
| `name` | letters, digits and dashes |
| `fixed` | setting -> value. What bears on some methods only (a rank, a sigma, `prior`) applies where it can, else it is left aside |
| `axes` | setting -> list of values; the trials are the product. Conditional axes vary fastest |
| `zip` | setting -> list, all of one length, that move together; or a list of several such groups |
| `by_method` | method -> {setting: value}, in place of the fixed value or the default. `--set` of that setting holds for every method |
| `when` | setting -> {setting: value or list}. Where it does not hold, the setting is absent (its default) and multiplies nothing |
| `include` | a list of points that are added, also where `exclude` would drop them; a value may be a list |
| `exclude` | a list of partial points that are left out of the product |
| `retry` | class of failure -> {setting: value}: what is tried again (see Retry); no part of any key |
| `profiles` | name -> sections of these kinds, laid over the grid's: the grid in several sizes (see Profiles) |

Points that are written twice are an error. Points that are written differently but mean the same (a seed, where nothing is trained)
run once, and `s2l plan` says so. Every setting below may stand under `fixed`, `axes`, `zip`, `include` and `exclude`. A value that
is itself a list (@LISTS@) is written as a list of lists under `axes`. `--set setting=value,value` replaces an axis,
or a fixed value; several values make an axis. `--set attacks=secmi,loss` replaces the one list. What of the file matches nothing any
more after a `--set` (a `when`, an `exclude`, a fixed `alpha` where no LoRA is left) is told and left aside; without one it is a mistake.
"""


_PROFILES = """## Profiles

```yaml
name: sizes
axes: {domain: [zorvik], method: [none, lora]}
by_method:
  lora: {lr: 1e-4}                       # the others keep theirs
profiles:
  tiny: {fixed: {steps: 100, sp_size: 64}}
  large: {fixed: {epochs: 100, sp_size: 2000}, axes: {seed: [0, 1, 2]}}
```

`--profile large` lays that profile's sections over the grid's, setting by setting, before `--set`; without the option the first profile
is taken. What a profile gives under `fixed` or `axes` takes the place of what the grid gives under either; its `zip` takes the place of
the grid's; its `include` and `exclude` come after the grid's. The grid's name ends in the profile's (`sizes-large`) unless that is the
first, so that each is a grid of its own in the store, in MLflow and in reports."""


_WAYS = """
Where a token is trained, an attack shows it in the place of the domain's name, and is run once more, as `ATTACK@own-caption`, with the
caption as it is. Where the autoencoder is trained, an attack takes latents from the trained one, and is run once more, as
`ATTACK@base-vae`, with the base's."""


def reference() -> str:
    """The page as Markdown."""
    lists = ", ".join(f"`{name}`" for name in sorted(LIST_FIELDS))
    sections = [
        _profiles(),
        _settings(),
        _methods(),
        _attacks(),
        _prompts(),
        _defences(),
        _features(),
        _extraction(),
        _memorisation(),
        _retry(),
    ]
    return "\n".join([_HEAD.replace("@LISTS@", lists), *("\n".join(section) + "\n" for section in sections)]).rstrip("\n") + "\n"


def _profiles() -> Iterator[str]:
    yield _PROFILES


def _settings() -> Iterator[str]:
    yield "## Settings\n\n| setting | default | what it is |\n|---|---|---|"
    for name, info in Point.model_fields.items():
        default = "needed" if info.is_required() else "" if info.default is None else f"`{_yaml(info.default)}`"
        yield f"| `{name}` | {default} | {info.description} |"


def _methods() -> Iterator[str]:
    yield f"## Methods\n\nUnless a grid says otherwise, as published: {PUBLISHED_EPOCHS} epochs, weight decay 0.01, clip 1, and per method:"
    yield "\n| preset | lr | batch | these are | what is trained, on which prompts |\n|---|---|---|---|---|"
    for name, preset in METHODS.items():
        numbers = f"{preset.lr:g} | {preset.batch} | {preset.origin}" if trains(MethodSpec(adapters=preset.adapters)) else " | | "
        yield f"| `{name}` | {numbers} | {preset.words} |"
    yield "\nA method can be spelled out: `{name: wide, adapters: [{kind: lora, rank: 16, alpha: 16}], objective: {kind: denoise}}`."
    yield from _kinds("Adapters", AdapterSpec)
    yield from _kinds("Objectives", ObjectiveSpec)
    yield f"\n`prior` is true, false, or a mapping: {_fields(PriorPreservation)}."


def _attacks() -> Iterator[str]:
    yield "## Attacks\n\nScores of every attack: higher means more member-like. Definitions, costs and sources: [attacks.md](attacks.md)."
    yield "\n| preset | what it is |\n|---|---|"
    for name, spec in ATTACK_PRESETS.items():
        yield f"| `{name}` | `{_yaml(spec.model_dump(mode='json', exclude={'access'}))}` |"
    yield from _kinds("Attacks", GridAttack)
    yield from _kinds("Captions", CaptionSetting)
    yield from _kinds("Captioners of automatic captions", CaptionerSetting)
    yield _WAYS


def _prompts() -> Iterator[str]:
    yield "## Prompts of the SP set\n\nThe prompt of every image is drawn by the prompts' weights."
    yield "\n| preset | weight: prompt | negative prompt | what it is |\n|---|---|---|---|"
    for name, preset in PROMPTS.items():
        prompts = "<br>".join(f"{prompt.weight:g}: `{prompt.text}`" for prompt in preset.prompts)
        yield f"| `{name}` | {prompts} | {f'`{preset.negative}`' if preset.negative else ''} | {preset.words} |"


def _defences() -> Iterator[str]:
    yield "## Defences\n\nWhat each does, needs and promises: [defences.md](defences.md).\n\n| preset | what it is |\n|---|---|"
    for name, preset in DEFENCES.items():
        yield f"| `{name}` | {preset.words} |"
    yield from _kinds("Defences", DefenceSpec)


def _features() -> Iterator[str]:
    yield "## Fidelity\n\nWhat drawn sets are measured in; the definitions are in [fidelity.md](fidelity.md). By name: "
    yield ", ".join(f"`{name}`" for name in FEATURE_PRESETS) + ". Or a mapping, such as `{kind: clip, model: FOLDER}`."
    yield from _kinds("Features", FidelityFeatures)


def _extraction() -> Iterator[str]:
    yield "## Extraction\n\nHow candidates are matched with members; the definitions are in [extraction.md](extraction.md). By the name of"
    yield f"features, {', '.join(f'`{name}`' for name in FEATURE_PRESETS)}; or a mapping: {_fields(ExtractionSettings)}."
    yield "`features` is a name or a mapping, as above: `{features: {kind: clip, model: FOLDER}, candidates: 500, keep: null}`."


def _memorisation() -> Iterator[str]:
    yield "## Memorisation\n\nHow strongly a model knows a name; the definition is in [attacks.md](attacks.md#prompts-that-were-memorised)."
    yield f"`default`, or a mapping: {_fields(MemorisationSpec)}. Every prompt holds `{{name}}`; `controls` are names that the model"
    yield "never saw, and the default ones get as many words as the domain's name has."


def _retry() -> Iterator[str]:
    yield "## Retry\n\nHow often each class of failure is tried within one run, the first try included: `retry: {oom: {tries: 2}, hung:"
    yield "{after_s: 900}}`. It changes no key and no result; the classes are explained in [failures.md](failures.md)."
    yield "\n| class | settings | what it is |\n|---|---|---|"
    for name, info in RetryPolicy.model_fields.items():
        cls = type(info.default)
        yield f"| `{name}` | {_fields(cls)} | {' '.join((cls.__doc__ or '').split())} |"
    yield "\n`configuration` and `data` errors are never tried again: they would fail in the same way."


def _kinds(title: str, union: Any) -> Iterator[str]:
    yield f"\n{title}, by `kind`:\n"
    for kind, cls in kinds_of(union).items():
        fields = _fields(cls)
        yield f"- `{kind}`{f' ({fields})' if fields else ''}: {' '.join((cls.__doc__ or '').split())}"


def _fields(cls: type[Spec]) -> str:
    fields = {name: info for name, info in cls.model_fields.items() if name not in ("kind", "access")}
    return ", ".join(f"`{name}`, needed" if info.is_required() else f"`{name}: {_yaml(info.default)}`" for name, info in fields.items())


def _yaml(value: Any) -> str:
    """A default as one would write it in a grid file."""
    if isinstance(value, Spec):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_yaml(one) for one in value)}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return '""' if value == "" else str(value)


if __name__ == "__main__":
    print(reference(), end="")
