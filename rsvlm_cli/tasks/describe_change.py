"""What changed between two dates, in words."""

from rsvlm_cli.tasks.dialect import Dialect, PromptKind
from rsvlm_cli.tasks.exchange import Request, build_request, read_text

read = read_text


def request(dialect: Dialect) -> Request:
    """Build the request over two pictures, before and after."""
    return build_request(dialect, PromptKind.DESCRIBE_CHANGE, n_images=2)
