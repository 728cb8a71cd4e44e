"""What SQL holds and how it is reached: tables, lease, history, the records that wait for MLflow."""
