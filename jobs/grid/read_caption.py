"""The setting `caption`: a word, or a mapping with a `kind`; automatic captions with their captioner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jobs.grid.captions import BlipNetwork, CaptionerSetting, CaptionSetting
from jobs.grid.messages import listed, show, unknown
from jobs.grid.model import Named
from jobs.grid.read_spec import canonical, check_template, read_member, told_spec
from s2l_core.specs.captioners import CAPTIONER_PRESETS, BlipCaptioner, CaptionerSpec
from s2l_core.specs.captions import AutomaticCaption, CaptionSpec, DomainPrompt, NullCaption, OwnCaption

CAPTIONS: dict[str, CaptionSpec] = {"own": OwnCaption(), "domain": DomainPrompt(), "null": NullCaption()}
_AUTOMATIC = "{kind: automatic, captioner: colours}"
_BLIP = "{kind: blip, model: FOLDER}"


class Shown(NamedTuple):
    """The caption an attack shows; of an automatic one also who writes it, and `network`, the model behind that, where there is one."""

    caption: CaptionSpec
    captioner: CaptionerSpec | None = None
    network: str | None = None


def read_caption(raw: Any) -> Named:
    """A word or a mapping, as what is shown.

    Raises:
        ValueError: what is wrong, what was given, what is allowed.
    """
    if isinstance(raw, Mapping):
        return _read_mapping(raw)
    raw = "null" if raw is None else raw
    if raw == "automatic":
        raise ValueError(f'got "automatic", which does not say who writes the captions; name a captioner: {_AUTOMATIC}, or {_BLIP}')
    if not isinstance(raw, str) or raw not in CAPTIONS:
        raise ValueError(unknown("caption", raw, CAPTIONS) + f"; or a mapping such as {_AUTOMATIC}")
    return Named(raw, Shown(CAPTIONS[raw]))


def _read_mapping(raw: Mapping[str, Any]) -> Named:
    kind = raw.get("kind")
    if kind == "replace-name":
        raise ValueError(f"got {show(raw)}; trials that learn a token show it by themselves; allowed: {listed(CAPTIONS)}")
    if kind == "automatic":
        return _read_automatic(raw)
    caption = read_member(CaptionSetting, raw, "caption")
    if isinstance(caption, DomainPrompt):
        check_template(caption.template, "caption.template")
    name = next((name for name, spec in CAPTIONS.items() if spec == caption), None)
    return Named(name or canonical(caption.model_dump(mode="json")), Shown(caption))


def _read_automatic(raw: Mapping[str, Any]) -> Named:
    unexpected = next((key for key in raw if key not in ("kind", "captioner")), None)
    if unexpected is not None:
        raise ValueError(f"caption: {unknown('key', unexpected, ['kind', 'captioner'])}; knobs of a captioner stand under captioner")
    if "captioner" not in raw:
        raise ValueError(f"caption.captioner: is missing; name one: {_AUTOMATIC}, or {_BLIP}")
    given = raw["captioner"]
    if isinstance(given, str):
        if given not in CAPTIONER_PRESETS:
            raise ValueError(f"caption.captioner: {unknown('captioner', given, CAPTIONER_PRESETS)}; or a mapping such as {_BLIP}")
        given = {"kind": given}
    read = read_member(CaptionerSetting, given, "caption.captioner")
    label = f"automatic {told_spec(read)}"
    if not isinstance(read, BlipNetwork):
        return Named(label, Shown(AutomaticCaption(), read))
    if "{" in read.prompt:
        raise ValueError(f"caption.captioner.prompt: got {show(read.prompt)}; all domains are captioned alike, so no braces here")
    return Named(label, Shown(AutomaticCaption(), BlipCaptioner(**read.model_dump(exclude={"model"})), read.model))
