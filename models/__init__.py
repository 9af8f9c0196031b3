"""Networks, losses, learners and the training engine.

This package works on tensors alone: it reads no files and no params.yaml, writes no logs, and imports neither DVC nor
Prefect.
"""
