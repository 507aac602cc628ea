"""Logs as JSON lines. What may stand in one is a short list, so that no patient's data can."""

import json
import logging
import sys
from datetime import UTC, datetime

#: The extra fields that are written; anything else is dropped.
FIELDS = ("action", "study", "workitem", "site", "route", "status", "elapsed_ms", "fault", "count", "reason")


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object; of an exception only its kind and place, never its text."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.msg
            if record.name.startswith(("service", "deploy", "models"))
            else (record.getMessage().splitlines() or [""])[0],
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["fault"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                line["place"] = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Send all logs to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "alembic", "multipart", "python_multipart", "sqlalchemy"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It warns of every span that finds no room while a collector is away; that it is away is an error, told now and then.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
