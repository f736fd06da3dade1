"""Settings of the flusher and of migrations, from the environment alone."""

from functools import cached_property
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from meter.ledger.types import Rules


def _url_of(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        wrong = f"must be a URL that starts with {' or '.join(f'{name}://' for name in schemes)}"
        try:
            parts = urlsplit(value.get_secret_value())
            _ = parts.port  # raises for one that is no number
        except ValueError:
            raise ValueError(wrong) from None  # the cause repeats parts of the URL
        if parts.scheme not in schemes:
            raise ValueError(wrong)
        return value

    return AfterValidator(check)


DatabaseUrl = Annotated[SecretStr, _url_of("postgresql", "postgres")]
RedisUrl = Annotated[SecretStr, _url_of("redis", "rediss", "valkey", "valkeys", "unix")]


def _web_url(value: str) -> str:
    wrong = "must be a URL that starts with https:// (or http://), without user and password"
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        raise ValueError(wrong) from None  # the cause repeats parts of the URL
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise ValueError(wrong)
    return value


WebUrl = Annotated[str, AfterValidator(_web_url)]


class MigrateSettings(BaseSettings):
    """Each field is the environment variable of its alias; times are in seconds."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True)

    database_url: DatabaseUrl = Field(alias="DATABASE_URL")
    wait_seconds: float = Field(default=10, alias="METER_MIGRATE_WAIT_SECONDS", ge=0)
    demo: bool = Field(default=False, alias="METER_MIGRATE_DEMO")


class FlusherSettings(BaseSettings):
    """Each field is the environment variable of its alias; times are in seconds."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True)

    database_url: DatabaseUrl = Field(alias="DATABASE_URL")
    redis_url: RedisUrl = Field(alias="REDIS_URL")
    # Between two looks for what is due.
    interval_seconds: float = Field(default=1, alias="METER_FLUSH_INTERVAL_SECONDS", gt=0, le=60)
    # A flusher that died is replaced after this.
    lease_seconds: float = Field(default=10, alias="METER_FLUSH_LEASE_SECONDS", ge=1, le=300)
    batch_rows: int = Field(default=5_000, alias="METER_FLUSH_BATCH_ROWS", ge=1, le=50_000)
    # Most sessions of one partition (of 64) in one look.
    sessions: int = Field(default=100, alias="METER_FLUSH_SESSIONS", ge=1, le=10_000)
    # For one statement in Postgres.
    timeout_seconds: float = Field(default=10, alias="METER_FLUSH_TIMEOUT_SECONDS", gt=0)
    # For the last flush, when told to stop.
    stop_seconds: float = Field(default=10, alias="METER_FLUSH_STOP_SECONDS", ge=0)
    # Where Prometheus finds the flusher's metrics; nowhere unless given.
    metrics_port: int | None = Field(default=None, alias="METER_FLUSH_METRICS_PORT", ge=1, le=65535)
    lost_after_seconds: int = Field(default=60, alias="METER_LOST_AFTER_SECONDS", gt=0)
    resume_seconds: int = Field(default=900, alias="METER_RESUME_SECONDS", ge=0)
    # Overage is reported to Stripe when it is given.
    stripe_secret_key: SecretStr | None = Field(
        default=None, alias="METER_STRIPE_SECRET_KEY", min_length=1
    )
    # Between two looks for overage that isn't reported.
    stripe_interval_seconds: float = Field(
        default=300, alias="METER_STRIPE_INTERVAL_SECONDS", ge=1, le=86_400
    )
    stripe_api_url: WebUrl = Field(default="https://api.stripe.com", alias="METER_STRIPE_API_URL")

    @cached_property
    def rules(self) -> Rules:
        """The ledger's bounds that a flusher applies; the gateways' have to be the same."""
        return Rules(lost_after_seconds=self.lost_after_seconds, resume_seconds=self.resume_seconds)


def describe(error: ValidationError) -> str:
    """The settings that are missing or bad and why, in one line, without their values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in entry['loc'])}: {_reason(entry['type'], entry['msg'])}"
        for entry in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _reason(kind: str, message: str) -> str:
    return "is not set" if kind == "missing" else message.removeprefix("Value error, ")
