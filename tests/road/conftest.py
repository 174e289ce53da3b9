"""The road is tested with the engines that the command line is tested with."""

from tests.cli.conftest import bundle_path, fake_engine

__all__ = ["bundle_path", "fake_engine"]
