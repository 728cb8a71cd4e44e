"""A study that grows: wider ranges, retries, another one's best points first."""
