"""Who writes the captions that an attack shows, where they are not the data set's own."""

from __future__ import annotations

from typing import Any

from jobs.grid.model import Named
from jobs.grid.read_caption import Shown
from jobs.plan.graph import Graph, Node
from jobs.plan.inputs import FoundInputs
from jobs.stages.specs import CaptionsStage
from s2l_core.specs.captions import DomainPrompt, OwnCaption

Parents = tuple[tuple[str, Node], ...]


class CaptionBuilder:
    """Adds the captions stages of points to a graph: one for each data set and captioner, whatever is attacked with them.

    Attributes:
        notices: what the user should be told of the points.
    """

    def __init__(self, graph: Graph, found: FoundInputs) -> None:
        self._graph, self._found = graph, found
        self._made: dict[tuple[str, Any], Parents] = {}
        self.notices: dict[str, None] = {}

    def beside(self, caption: Named, data: Node) -> Parents:
        """What a score has as parents beside the model and the data: the captions, where they are automatic."""
        shown: Shown = caption.value
        if shown.captioner is None:
            return ()
        key = (data.key, caption)
        if key not in self._made:
            network = () if shown.network is None else (("captioner", self._found.network("caption", shown.network, "captioner", caption)),)
            self._made[key] = (("captions", self._graph.add(CaptionsStage(captioner=shown.captioner), (("data", data), *network))),)
        return self._made[key]

    def tell_of_token(self, caption: Named, token: str) -> None:
        """A notice where a token that is trained stands in no prompt of the attacks."""
        if not isinstance(caption.value.caption, OwnCaption | DomainPrompt):
            self.notices[
                f"caption={caption.label} shows no name whose place the trained token {token} could take: what only the token learned "
                "cannot be seen, and where nothing else is trained after equals before; attack with `own` or `domain` to see it"
            ] = None
