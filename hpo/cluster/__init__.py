"""Where trials run: the Ray cluster and shares of its cards."""
