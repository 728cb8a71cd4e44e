"""Checks before a training: of the network, of the pictures, of how long it will take. Each leaves all as it was."""
