"""The gate: decides whether a candidate may replace the live model."""
