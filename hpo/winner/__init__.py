"""Which trial has won, how sure that is, and whether it comes out again."""
