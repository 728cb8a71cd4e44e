"""Hyperparameter search: one space file in, a finished study out."""
