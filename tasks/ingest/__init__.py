"""Fills data/raw, the pipeline's input, and pins it with DVC. Not a stage: what comes in is a person's decision."""
