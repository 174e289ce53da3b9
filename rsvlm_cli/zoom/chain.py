"""A chain of regions that the model names by a tool call; each round is one of those that RSCoVLM was trained with.

Source: RSCoVLM (arXiv:2511.21272), which crops the shrunken overview and so adds no detail (``paper`` does the same).
"""

from dataclasses import dataclass, field, replace

from rsvlm_cli.geo.quarters import area_of, longest_side
from rsvlm_cli.geo.tiling import whole_pixels
from rsvlm_cli.results import Hop
from rsvlm_cli.scene import View
from rsvlm_cli.tasks.evidence import CERTAIN, certainty
from rsvlm_cli.tasks.exchange import require_whole
from rsvlm_cli.tasks.zoom import call_request, parse_call, zoomed_request
from rsvlm_cli.zoom.look import Answered, Budget, Looker, Said, look_once

SAME_FRAC = 0.9
"""A named region of more than this share of the picture is no closer look."""


@dataclass
class Chain:
    """The model names a region by a tool call; each round is one of those that RSCoVLM was trained with."""

    view: View
    question: str
    budget: Budget
    hops: list[Hop] = field(default_factory=list)

    def run(self) -> Answered:
        """Go on from region to region while it gets smaller; ``paper`` takes one round, whatever the overview says."""
        scene = self.view.scene
        paper = scene.settings.zoom == "paper"
        best, n_decided, current = None if paper else look_once(self.view, self.question), 0, self.view
        while (best is None or certainty(best) < CERTAIN) and self.budget.allows(1):
            asked = self._round(current)
            if asked is None:
                break
            current, said, hop = asked
            found = said.found
            self.hops.append(hop)
            if best is None or certainty(found) > certainty(best):
                best, n_decided = found, len(self.hops)
            if paper or longest_side(current.window_px) <= scene.model_side_px:
                break
        hops = [replace(hop, label="decided") for hop in self.hops[:n_decided]] + self.hops[n_decided:]
        return self.budget.pay(best or look_once(self.view, self.question)), hops

    def _round(self, current: View) -> tuple[View, Said, Hop] | None:
        """Have a region named, show it, and answer; None where it is no smaller or holds next to no data."""
        scene = current.scene
        reply = current.generate(call_request(scene.dialect, self.question))
        require_whole(reply, "tool call")
        region_px = whole_pixels(current.box_px(parse_call(reply.text, scene.bundle.manifest.image.size)))
        if area_of(region_px) > SAME_FRAC * area_of(current.window_px):
            return None
        asked = zoomed_request(scene.dialect, self.question, reply.text)
        looker = Looker(current, self.question, self.budget)
        return looker.ask(region_px, lambda view: Said(look_once(current.beside(view), self.question, asked)))
