"""Everything that can go wrong in a way the user can mend, as one tree.

::

    RsvlmError                          exit 1
    |- UsageError                       exit 2   options that do not fit together
    |- InputError                       exit 3   the input cannot be used
    |  |- RasterUnreadable                       missing, truncated, refused by GDAL, too large to be honest
    |  |- BandsMissing                           the bands asked for are not in the file
    |  |- WindowOutside                          the region asked for lies outside the raster
    |  |- NotGeoreferenced                       map coordinates asked of a raster that has none
    |  |- RastersDoNotOverlap                    two dates that share no ground
    |  `- OutputExists                           the target exists and --overwrite was not given
    |- BundleError                      exit 4   the model bundle cannot be used
    |  |- BundleNotFound
    |  |- BundleCorrupt                          a missing file, a wrong size or hash, a malformed manifest
    |  `- BundleTooNew                           a manifest format this version cannot read
    |- ReplyError                       exit 5   the model's reply cannot be used
    |  |- ReplyTruncated                         the token budget ended before the reply did
    |  `- ReplyMalformed                         the text does not follow the task's grammar (keeps the text)
    `- BatchError                       exit 6   some items of a batch failed, the others are done

Exit 0 is success, 10 the answer "no" under ``--test``, 130 an interrupt, 141 a reader that closed the pipe. A message
is one line: what was found, what is wanted, the way out. ``rsvlm_cli.main`` is the one place where an error becomes a
line on stderr and an exit code.
"""

EXIT_TEST_FALSE = 10
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


class RsvlmError(Exception):
    """A fault that the user can read about in one line."""

    exit_code = 1


class UsageError(RsvlmError):
    """Options that do not fit together or are out of range."""

    exit_code = 2


class InputError(RsvlmError):
    """The input cannot be used."""

    exit_code = 3


class RasterUnreadable(InputError):
    """A raster is missing, broken, or refused by GDAL."""


class BandsMissing(InputError):
    """The bands that were asked for are not in the raster."""


class WindowOutside(InputError):
    """The region that was asked for lies outside the raster."""


class NotGeoreferenced(InputError):
    """Map coordinates were asked of a raster that has none."""


class RastersDoNotOverlap(InputError):
    """Two dates share no ground."""


class OutputExists(InputError):
    """A target file exists and may not be overwritten."""


class BundleError(RsvlmError):
    """The model bundle cannot be used."""

    exit_code = 4


class BundleNotFound(BundleError):
    """No bundle of that name or path."""


class BundleCorrupt(BundleError):
    """A bundle file is missing or altered, or the manifest is malformed."""


class BundleTooNew(BundleError):
    """The bundle's format is newer than this version of rsvlm reads."""


class ReplyError(RsvlmError):
    """The model's reply cannot be used."""

    exit_code = 5


class ReplyTruncated(ReplyError):
    """The token budget ended before the reply did."""


class ReplyMalformed(ReplyError):
    """The reply does not follow the task's grammar.

    Attributes:
        reply: the text as the model gave it.
    """

    def __init__(self, message: str, reply: str) -> None:
        super().__init__(message)
        self.reply = reply


class BatchError(RsvlmError):
    """Some items of a batch failed; the others are done."""

    exit_code = 6
