"""How this deployment is set up: environment variables ``DEMUR_*``, read once."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that a deployment may choose. What belongs to a release travels in its bundle instead."""

    model_config = SettingsConfigDict(env_prefix="DEMUR_", frozen=True, extra="ignore", validate_by_name=True)

    database: str = Field("sqlite:///demur-data/demur.sqlite", description="SQLAlchemy URL: SQLite or PostgreSQL")
    storage: str = Field("demur-data/files", description="folder of the stored files, or s3://bucket/prefix")
    storage_endpoint: str | None = Field(None, description="URL of an S3-compatible store; AWS if not given")
    storage_region: str = Field("us-east-1", description="region of the bucket")
    storage_access_key: str | None = Field(None, description="access key; if not given, as botocore finds one")
    storage_secret_key: SecretStr | None = Field(None, description="secret key of the access key")
    storage_spool: Path = Field(Path("demur-data/spool"), description="folder of what is on its way into a bucket")
    bundle: Path | None = Field(None, description="the release to decide with; without one everything is IDK")
    trust: Path | None = Field(None, description="text file of the public keys whose releases are opened")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8480, description="port to listen on; 0 takes a free one")
    tls_certificate: Path | None = Field(None, description="PEM file; the service then speaks HTTPS by itself")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key")
    reader_token: SecretStr | None = Field(
        None, description="local sign-in of readers; generated if not given, unless people sign in at a provider"
    )

    public_url: str | None = Field(None, description="address at which people's browsers reach the service")
    oidc_issuer: str | None = Field(None, description="OpenID provider that people sign in at, as it names itself")
    oidc_client_id: str | None = Field(None, description="what the provider calls Demur")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Demur's secret with the provider; PKCE alone if none"
    )
    oidc_scope: str = Field("openid profile", description="what Demur asks the provider for")
    oidc_groups_claim: str = Field("groups", description="claim that holds a person's groups")
    oidc_roles: str = Field("", description="what a group may do: GROUP=ROLE,GROUP=ROLE (reader, auditor, admin)")
    oidc_name_claim: str = Field("name", description="claim that pages call a person by; the ledger has the subject")

    dimse_host: str = Field("127.0.0.1", description="address that demur receive listens on")
    dimse_port: int = Field(11112, description="port that demur receive listens on; 0 takes a free one")
    dimse_ae_title: str = Field("DEMUR", max_length=16, description="AE title of demur receive")
    dimse_sites: str = Field("", description="who may send over DIMSE: calling AE titles as TITLE=SITE,TITLE=SITE")
    dimse_associations_max: int = Field(
        16, gt=0, description="associations at once; more are rejected, and a site's beyond its share"
    )
    dimse_bytes_max: int = Field(2 << 30, gt=0, description="bytes of all messages under way over DIMSE, in memory")
    dimse_tls_clients: Path | None = Field(
        None, description="PEM file of the authorities whose client certificates demur receive demands"
    )

    quiet_s: float = Field(5.0, ge=0, description="a study is decided when nothing has come for so long")
    decide_wait_s: float = Field(60.0, gt=0, description="how long POST /v1/studies waits for the decision")
    heartbeat_s: float = Field(2.0, gt=0, description="how often a process says that it lives")
    lost_after_s: float = Field(15.0, gt=0, description="attempts of a process silent for so long are lost")
    lease_s: float = Field(900.0, gt=0, description="a claim that is not renewed for so long is taken back")
    undo_s: float = Field(60.0, ge=0, description="how long a reader may undo a result given on the page")
    retention_days: int | None = Field(
        None, gt=0, description="days after which a study that nobody has to read is erased; kept for ever if not given"
    )
    session_s: float = Field(12 * 3600.0, gt=0, description="how long a sign-in lasts")

    audit_probability: float = Field(0.05, ge=0, le=1, description="share of healthy calls read unmarked, at new sites")
    audit_grace_days: float = Field(
        14.0,
        gt=0,
        description="how long readers have for a healthy call that is read unmarked; not to be changed later",
    )
    recall_days: float = Field(
        14.0, ge=0, description="how long back cleared studies are put on the worklist when a site's monitor alarms"
    )
    instance_bytes_max: int = Field(512 << 20, gt=0, description="largest instance")
    request_bytes_max: int = Field(4 << 30, gt=0, description="largest request")
    request_parts_max: int = Field(2000, gt=0, description="most instances in a request")
    requests_max: int = Field(
        64, gt=0, description="store requests under way at once; more are answered 503, and a site beyond its share 429"
    )
    site_requests_per_minute: int = Field(
        6000, gt=0, description="store requests of one site a minute; more are answered 429"
    )
    site_bytes_per_minute: int = Field(
        16 << 30, gt=0, description="bytes that one site may send a minute; what comes after them is answered 429"
    )
    header_s: float = Field(
        30.0, gt=0, description="how long a request's header may take; the connection is closed after that"
    )
    reserve_bytes: int = Field(512 << 20, ge=0, description="free space under which nothing more is taken in")
    body_s: float = Field(
        60.0, gt=0, description="how long a request's body may take, and a second more for each 64 KiB of it"
    )
    channels_max: int = Field(64, ge=0, description="event channels (WebSockets) open at once; more are answered 503")
    drain_s: int = Field(30, gt=0, description="how long requests under way may take after SIGTERM")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    otlp_endpoint: str | None = Field(
        None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="URL of an OpenTelemetry collector that takes spans over HTTP; none are made if not given",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse what would silently mean less than was meant."""
        if self.retention_days is not None and self.retention_days < max(self.recall_days, self.audit_grace_days):
            raise ValueError(
                f"DEMUR_RETENTION_DAYS ({self.retention_days}) must not be less than DEMUR_RECALL_DAYS ({self.recall_days:g}) "
                f"and DEMUR_AUDIT_GRACE_DAYS ({self.audit_grace_days:g}): what was cleared may have to be read after all"
            )
        if self.tls_certificate is None and (self.tls_key or self.dimse_tls_clients):
            raise ValueError("DEMUR_TLS_KEY and DEMUR_DIMSE_TLS_CLIENTS protect nothing without DEMUR_TLS_CERTIFICATE")
        if self.oidc_issuer is None and (self.oidc_client_id or self.oidc_client_secret):
            raise ValueError("DEMUR_OIDC_CLIENT_ID and DEMUR_OIDC_CLIENT_SECRET need DEMUR_OIDC_ISSUER")
        if self.lost_after_s <= self.heartbeat_s:
            raise ValueError(
                f"DEMUR_LOST_AFTER_S ({self.lost_after_s:g}) must be more than DEMUR_HEARTBEAT_S ({self.heartbeat_s:g})"
            )
        return self
