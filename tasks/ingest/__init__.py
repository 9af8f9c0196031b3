"""Fills data/raw, the input of the pipeline, and pins it with DVC. It is no stage: a person decides when it runs."""
