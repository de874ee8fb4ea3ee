"""Which prompt an image is shown with while it is attacked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import assert_never

from s2l_core.images import ImageRecord
from s2l_core.specs.captions import AutomaticCaption, CaptionSpec, DomainPrompt, NullCaption, OwnCaption, ReplaceName


def prompts_for(records: Sequence[ImageRecord], caption: CaptionSpec, name: str, automatic: Mapping[str, str] | None = None) -> list[str]:
    """One prompt a record, by the same rule for members and non-members.

    Args:
        name: what stands for `{name}` in a domain's prompt.
        automatic: image id -> what a captioner said of it, for automatic captions.

    Raises:
        ValueError: a domain's prompt wants a name and there is none, no caption holds the name that is to be replaced,
            or an image has no automatic caption.
    """
    match caption:
        case OwnCaption():
            return [record.text for record in records]
        case NullCaption():
            return [""] * len(records)
        case DomainPrompt(template=template):
            if "{name}" in template and not name:
                raise ValueError(
                    f"the caption {template!r} needs the domain's name; got none; give the domain a name, or use the images' own captions"
                )
            return [template.replace("{name}", name)] * len(records)
        case ReplaceName(name=replaced, token=token):
            return replace_name([record.text for record in records], replaced, token)
        case AutomaticCaption():
            return _automatic([record.image_id for record in records], automatic)
        case _:
            assert_never(caption)


def _automatic(image_ids: Sequence[str], automatic: Mapping[str, str] | None) -> list[str]:
    if automatic is None:
        raise ValueError("automatic captions are read from a captioner's file, and none is given")
    missing = [image_id for image_id in image_ids if image_id not in automatic]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(image_ids)} images have no automatic caption, first {missing[0]}; the captions are of other images: "
            "caption this data set"
        )
    return [automatic[image_id] for image_id in image_ids]


def replace_name(texts: Sequence[str], name: str, token: str) -> list[str]:
    """The texts with the name, as whole words in upper or lower case, replaced by the token; a text without it stays as it is.

    Raises:
        ValueError: not one text holds the name: the token would be in none, and nothing of what was learned for it would be seen. The
            message shows no text: it ends up in failure records and in MLflow, and captions are private.
    """
    if texts and not any(holds_name(text, name) for text in texts):
        raise ValueError(
            f"none of {len(texts)} captions holds the name {name!r}, so that {token} has no place in them; "
            "use a domain prompt, or the name that the captions have"
        )
    return [_whole(name).sub(lambda match: token, text) for text in texts]


def holds_name(text: str, name: str) -> bool:
    """Whether the text holds the name, as whole words in upper or lower case."""
    return _whole(name).search(text) is not None


@lru_cache(maxsize=64)
def _whole(name: str) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, name.split())) + r"(?!\w)", re.IGNORECASE)
