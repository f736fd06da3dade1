"""The gateway's settings, from the environment alone."""

from functools import cached_property
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway import claims
from gateway.actions import SessionTimes
from gateway.claims import ClaimNames
from meter.ledger.types import Rules


def _claim(value: str) -> str:
    claims.names(value)
    return value


def _origins(value: str) -> str:
    for origin in _listed(value):
        parts = urlsplit(origin)
        bare = f"{parts.scheme}://{parts.netloc}" == origin and parts.hostname is not None
        if not bare or "*" in origin or "@" in origin or origin != origin.lower():
            raise ValueError("must be origins by comma, as browsers send them: https://example.com")
    return value


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


ClaimSetting = Annotated[str, AfterValidator(_claim)]
OriginsSetting = Annotated[str, AfterValidator(_origins)]


class GatewaySettings(BaseSettings):
    """Each field is the environment variable of its alias; times are in seconds."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True)

    database_url: SecretStr = Field(alias="DATABASE_URL", min_length=1)
    redis_url: SecretStr = Field(alias="REDIS_URL", min_length=1)
    host: str = Field(default="127.0.0.1", alias="HOST")
    port: int = Field(default=8000, alias="PORT", ge=0, le=65535)
    jwt_secret: SecretStr | None = Field(default=None, alias="METER_JWT_SECRET", min_length=32)
    jwks_url: SecretStr | None = Field(default=None, alias="METER_JWKS_URL", validate_default=True)
    jwks_refresh_seconds: float = Field(
        default=300, alias="METER_JWKS_REFRESH_SECONDS", ge=5, le=86_400
    )
    jwt_issuer: str | None = Field(default=None, alias="METER_JWT_ISSUER", min_length=1)
    jwt_audience: str | None = Field(default=None, alias="METER_JWT_AUDIENCE", min_length=1)
    user_claim: ClaimSetting = Field(default=claims.USER_CLAIM, alias="METER_JWT_USER_CLAIM")
    org_claim: ClaimSetting = Field(default=claims.ORGANIZATION_CLAIM, alias="METER_JWT_ORG_CLAIM")
    scope_claim: ClaimSetting = Field(default=claims.SCOPE_CLAIM, alias="METER_JWT_SCOPE_CLAIM")
    origins: OriginsSetting = Field(default="", alias="METER_ALLOWED_ORIGINS")
    ack_seconds: int = Field(default=6, alias="METER_ACK_SECONDS", ge=2, le=60)
    start_timeout_seconds: float = Field(default=10, alias="METER_START_TIMEOUT_SECONDS", gt=0)
    token_grace_seconds: float = Field(default=60, alias="METER_TOKEN_GRACE_SECONDS", ge=0)
    behind_after_seconds: float = Field(default=120, alias="METER_BEHIND_AFTER_SECONDS", gt=0)
    stop_wait_seconds: float = Field(default=3, alias="METER_STOP_WAIT_SECONDS", ge=0, le=60)
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

    # Stripe's events are taken when it is given.
    stripe_webhook_secret: SecretStr | None = Field(
        default=None, alias="METER_STRIPE_WEBHOOK_SECRET", min_length=16
    )

    @field_validator("jwks_url")
    @classmethod
    def _one_source_of_keys(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            _check_web_url(value.get_secret_value())
        if "jwt_secret" not in info.data:
            return value  # there is one, and it is bad
        if (value is None) == (info.data["jwt_secret"] is None):
            both = "not both" if value is not None else "one of them is needed"
            raise ValueError(f"set METER_JWT_SECRET or METER_JWKS_URL: {both}")
        return value

    @cached_property
    def claim_names(self) -> ClaimNames:
        """Where tokens say whose they are."""
        return ClaimNames(
            user=claims.names(self.user_claim),
            organization=claims.names(self.org_claim),
            scope=claims.names(self.scope_claim),
        )

    @cached_property
    def allowed_origins(self) -> frozenset[str]:
        """Origins of pages that may connect, as browsers send them."""
        return frozenset(_listed(self.origins))

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


def _check_web_url(url: str) -> None:
    wrong = "must be a URL that starts with https:// (or http://), without user and password"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        raise ValueError(wrong) from None  # the cause repeats parts of the URL
    bad = parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc
    if bad or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(wrong)
