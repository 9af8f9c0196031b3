"""Reads the DAG of dvc.yaml and runs its stages as Prefect tasks, in supervised processes and git worktrees."""
