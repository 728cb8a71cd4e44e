"""Whether SQL, MLflow and the files say the same, and how that is mended."""
