"""Training: data, mixture, loop, evaluation, recipes."""
