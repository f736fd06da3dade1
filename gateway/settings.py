"""The gateway's settings, from the environment alone."""

from functools import cached_property

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.actions import SessionTimes
from meter.ledger.types import Rules


class GatewaySettings(BaseSettings):
    """Each field is the environment variable of its alias; times are in seconds."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True)

    database_url: SecretStr = Field(alias="DATABASE_URL", min_length=1)
    redis_url: SecretStr = Field(alias="REDIS_URL", min_length=1)
    host: str = Field(default="127.0.0.1", alias="HOST")
    port: int = Field(default=8000, alias="PORT", ge=0, le=65535)
    jwt_secret: SecretStr = Field(alias="METER_JWT_SECRET", min_length=32)
    jwt_issuer: str | None = Field(default=None, alias="METER_JWT_ISSUER")
    jwt_audience: str | None = Field(default=None, alias="METER_JWT_AUDIENCE")
    origins: str = Field(default="", alias="METER_ALLOWED_ORIGINS")
    ack_seconds: int = Field(default=6, alias="METER_ACK_SECONDS", ge=2, le=60)
    start_timeout_seconds: float = Field(default=10, alias="METER_START_TIMEOUT_SECONDS", gt=0)
    token_grace_seconds: float = Field(default=60, alias="METER_TOKEN_GRACE_SECONDS", ge=0)
    stop_grace_seconds: int = Field(default=10, alias="METER_STOP_GRACE_SECONDS", ge=0)
    drain_seconds: float = Field(default=5, alias="METER_DRAIN_SECONDS", ge=0)
    batch_seconds: float = Field(default=0.05, alias="METER_BATCH_SECONDS", gt=0, le=0.25)
    max_connections: int = Field(default=20_000, alias="METER_MAX_CONNECTIONS", gt=0)
    lost_after_seconds: int = Field(default=60, alias="METER_LOST_AFTER_SECONDS", gt=0)
    resume_seconds: int = Field(default=900, alias="METER_RESUME_SECONDS", ge=0)
    late_seconds: int = Field(default=86_400, alias="METER_LATE_SECONDS", gt=0, le=86_400)
    max_session_seconds: int = Field(
        default=86_400, alias="METER_MAX_SESSION_SECONDS", gt=0, le=86_400
    )

    @cached_property
    def allowed_origins(self) -> frozenset[str]:
        """Origins of pages that may connect, as browsers send them."""
        return frozenset(part.strip() for part in self.origins.split(",") if part.strip())

    @cached_property
    def times(self) -> SessionTimes:
        """A recorder session's times."""
        return SessionTimes(
            ack=self.ack_seconds,
            start_timeout=self.start_timeout_seconds,
            token_grace=self.token_grace_seconds,
            stop_grace=self.stop_grace_seconds,
        )

    @cached_property
    def rules(self) -> Rules:
        """The ledger's bounds."""
        return Rules(
            late_seconds=self.late_seconds,
            max_session_seconds=self.max_session_seconds,
            lost_after_seconds=self.lost_after_seconds,
            resume_seconds=self.resume_seconds,
        )
