-- Beside the database `tracking`, once, when the volume is new. Optuna and MLflow cannot share a database, and nor can
-- MLflow and its users: each keeps an alembic_version of its own.
\getenv password STUDIES_PASSWORD
CREATE ROLE hpo LOGIN PASSWORD :'password';
CREATE DATABASE studies OWNER hpo;
CREATE DATABASE users;
REVOKE CONNECT ON DATABASE tracking, users FROM PUBLIC;
