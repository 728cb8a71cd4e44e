"""How a space file is read and checked; `hpo.spec` is the way in."""
