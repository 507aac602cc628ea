"""Create the tables, and the triggers that make the ledger append-only."""

from alembic import op

from service.tables import metadata

revision = "0001"
down_revision = None

_SQLITE = """
CREATE TRIGGER ledger_no_{verb} BEFORE {verb} ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
"""
_POSTGRESQL_FUNCTION = """
CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$
"""


def upgrade() -> None:
    """Create everything."""
    connection = op.get_bind()
    metadata.create_all(connection)
    if connection.dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(_SQLITE.format(verb=verb))
        # REPLACE would delete without a delete trigger firing.
        op.execute(
            "CREATE TRIGGER ledger_no_REPLACE BEFORE INSERT ON ledger "
            "WHEN EXISTS (SELECT 1 FROM ledger WHERE sequence = NEW.sequence) "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )
    else:
        op.execute(_POSTGRESQL_FUNCTION)
        op.execute(
            "CREATE TRIGGER ledger_no_change BEFORE UPDATE OR DELETE ON ledger "
            "FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()"
        )
        op.execute(
            "CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()"
        )
