"""Which prompt an image is shown with while it is attacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from s2l_core.images import ImageRecord
from s2l_core.specs.captions import CaptionSpec, DomainPrompt, NullCaption, OwnCaption


def prompts_for(records: Sequence[ImageRecord], caption: CaptionSpec, name: str) -> list[str]:
    """One prompt a record, by the same rule for members and non-members.

    Args:
        name: what stands for `{name}` in a domain's prompt.

    Raises:
        ValueError: a domain's prompt wants a name and there is none.
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
        case _:
            assert_never(caption)
