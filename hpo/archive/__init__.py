"""A study as one file: written, and put into another database, from which it goes on."""
