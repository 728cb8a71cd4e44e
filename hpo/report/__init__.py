"""What a study has found, for people: pages, tables, what its curves tell."""
