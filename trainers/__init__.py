"""Image classifiers to train: configuration without torch, training with it."""
