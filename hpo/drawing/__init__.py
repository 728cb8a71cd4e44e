"""Pages and pictures for people, drawn from numbers that others have found."""
