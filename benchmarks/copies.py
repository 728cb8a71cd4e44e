"""A study made large in seconds: copies of its ended trials, with all their records, in PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sql

from hpo.settings import driver_url

__all__ = ["copy_trials"]

OF_TRIALS = {
    "trial_params": "param_name, distribution_json, "
    # other values than the first's, where the scale is a plain range
    "CASE param_name WHEN 'momentum' THEN 0.5 + 0.49 * random() ELSE param_value END",
    "trial_values": "objective, value_type, value",
    "trial_intermediate_values": "step, intermediate_value_type, intermediate_value",
    "trial_user_attributes": "key, value_json",
    "trial_system_attributes": "key, value_json",
}
"""Columns of Optuna's tables about one trial; the last, which is an expression in one, is named after what it gives."""

OURS = ("hpo_trial", "hpo_attempt", "hpo_epoch", "hpo_outbox")


def copy_trials(url: str, size: int) -> None:
    """Bring the only study in a database to so many ended trials; numbers and ids go on from the newest."""
    engine = sql.create_engine(driver_url(url))
    with engine.begin() as connection:
        ask = connection.exec_driver_sql
        ended = "state IN ('COMPLETE', 'PRUNED')"
        missing = size - ask(f"SELECT count(*) FROM trials WHERE {ended}").scalar_one()
        ask(
            "CREATE TEMPORARY TABLE copies AS "
            f"WITH old AS (SELECT trial_id, number FROM trials WHERE {ended}), "
            "newest AS (SELECT max(trial_id) AS id, max(number) AS number FROM trials), "
            "many AS (SELECT old.*, row_number() OVER (ORDER BY round, old.number) AS place "
            f"FROM old, generate_series(1, {missing}) AS round) "
            "SELECT many.trial_id AS old_id, many.number AS old_number, newest.id + place AS trial_id, "
            f"newest.number + place AS number FROM many, newest WHERE place <= {missing}"
        )
        ask(
            "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
            "SELECT copies.trial_id, copies.number, study_id, state, datetime_start, datetime_complete "
            "FROM copies JOIN trials ON trials.trial_id = old_id"
        )
        ask("SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), (SELECT max(trial_id) FROM trials))")
        for table, columns in OF_TRIALS.items():
            names = columns.split(", CASE")[0] + (", param_value" if "CASE" in columns else "")
            ask(
                f"INSERT INTO {table} (trial_id, {names}) SELECT copies.trial_id, {columns} "
                f"FROM copies JOIN {table} AS old ON old.trial_id = old_id"
            )
        for table in OURS:  # their numbers are those of Optuna
            there = [each["name"] for each in sql.inspect(connection).get_columns(table)]
            rest = ", ".join(each for each in there if each not in ("id", "number"))
            ask(
                f"INSERT INTO {table} (number, {rest}) SELECT copies.number, {rest} "
                f"FROM copies JOIN {table} AS old ON old.number = old_number"
            )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
