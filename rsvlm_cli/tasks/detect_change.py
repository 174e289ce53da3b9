"""Which cells of a place changed between two dates."""

from rsvlm_cli.tasks import segment
from rsvlm_cli.tasks.dialect import Dialect, PromptKind
from rsvlm_cli.tasks.exchange import Request, build_request

read = segment.read


def request(dialect: Dialect, label: str) -> Request:
    """Build the request for one label's change mask over two pictures, before and after."""
    asked = build_request(dialect, PromptKind.DETECT_CHANGE, n_images=2, label=label)
    return segment.with_mask_grammar(dialect, asked, label)
