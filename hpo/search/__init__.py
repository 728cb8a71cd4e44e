"""One run of one study: which trial is next, what becomes of it, which checkpoints stay."""
