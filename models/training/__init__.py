"""The training engine: loaders, eager and captured steps, EMA, optimisers, and diagnostics."""
