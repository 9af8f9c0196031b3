"""Prefect flows: run the stages of dvc.yaml as supervised processes, gate the results, release them. No torch here."""
