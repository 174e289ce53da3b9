"""rsvlm: ask, measure and map satellite and aerial images with a local vision-language model."""

__version__ = "0.1.0"
