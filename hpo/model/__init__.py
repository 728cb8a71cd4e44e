"""One model without a search: train, score, ask, export."""
