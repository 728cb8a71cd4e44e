"""What trains: a trial, an epoch at a time, in a process that stays warm."""
