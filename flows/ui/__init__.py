"""What runs show in Prefect's UI: artifacts, progress, verdicts and the run form."""
