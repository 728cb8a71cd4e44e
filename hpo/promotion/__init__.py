"""From a winner to a served model: the gate, MLflow's registry, the alias."""
