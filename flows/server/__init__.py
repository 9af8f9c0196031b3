"""What `make up` starts: Prefect's API server and UI, a worker, and a supervisor that restarts them."""
