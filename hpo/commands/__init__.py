"""What people type: one module for a group of commands; the work is done elsewhere."""
