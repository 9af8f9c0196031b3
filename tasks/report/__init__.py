"""The report: one HTML page about the current state of the project. It is no stage and needs no network."""
