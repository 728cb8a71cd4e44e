"""What the service costs, measured: see README.md."""
