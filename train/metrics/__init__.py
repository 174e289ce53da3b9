"""Scores, numpy alone; each formula names its source."""
