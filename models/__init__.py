"""Tensors: networks, losses, learners and the engine that runs a learner's step.

Nothing in here opens a file, reads params.yaml, logs, or knows of DVC and Prefect.
"""
