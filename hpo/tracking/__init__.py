"""MLflow as a picture of SQL, and the process that sends it."""
