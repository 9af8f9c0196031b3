"""The engine that runs a learner's step: clock, loaders, captured steps, averages, checks of health."""
