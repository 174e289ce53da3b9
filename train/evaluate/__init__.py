"""What a bundle is worth: suites of scores, taken on the very road that users take (`rsvlm eval`).

The one part of the workshop that walks `rsvlm_cli.pipeline`; everything else stands on the product's ground floor.
"""
