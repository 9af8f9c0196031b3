"""Whether a candidate may take the live model's place."""
