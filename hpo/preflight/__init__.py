"""What is looked at before a search costs anything."""
