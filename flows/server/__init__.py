"""A box that can be left alone: a keeper holds Prefect's server, a worker and, on request, a watched folder."""
