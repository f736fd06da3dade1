"""A missing or bad setting stops the process at once, names itself, and keeps its value secret."""

import pytest
from pydantic import ValidationError

from persistence.main import run_flusher, run_migrations
from persistence.settings import FlusherSettings, describe

GOOD = {"DATABASE_URL": "postgresql://u:hidden@db/x", "REDIS_URL": "redis://:hidden@cache"}


def _set(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_missing_settings_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _set(monkeypatch, {})
    for run in (run_flusher, run_migrations):
        with pytest.raises(SystemExit) as stopped:
            run()
        assert stopped.value.code == 2
        message = capsys.readouterr().err
        assert "DATABASE_URL: is not set" in message
        assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://u:hidden@db/x"),
        ("DATABASE_URL", "postgresql://u:hidden@db:54x2/x"),
        ("DATABASE_URL", "hidden"),
        ("DATABASE_URL", ""),
        ("REDIS_URL", "http://:hidden@cache"),
        ("METER_FLUSH_BATCH_ROWS", "hidden"),
        ("METER_FLUSH_BATCH_ROWS", "0"),
        ("METER_FLUSH_LEASE_SECONDS", "0.5"),
        ("METER_LOST_AFTER_SECONDS", "-1"),
        ("METER_STRIPE_SECRET_KEY", ""),
        ("METER_STRIPE_INTERVAL_SECONDS", "0"),
        ("METER_STRIPE_API_URL", "ftp://hidden"),
        ("METER_STRIPE_API_URL", "https://u:hidden@stripe.example"),
        ("METER_STRIPE_API_URL", "https://stripe.example:hidden"),
    ],
)
def test_a_bad_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    _set(monkeypatch, GOOD | {name: value})
    with pytest.raises(ValidationError) as caught:
        FlusherSettings()  # type: ignore[call-arg]
    message = describe(caught.value)
    assert message.startswith(f"{name}: ")
    assert "hidden" not in message


def test_the_key_for_stripe_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, GOOD | {"METER_STRIPE_SECRET_KEY": "sk_live_hidden"})
    settings = FlusherSettings()  # type: ignore[call-arg]
    assert "sk_live" not in repr(settings)
    assert settings.stripe_api_url == "https://api.stripe.com"


def test_good_settings_give_the_ledgers_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, GOOD | {"METER_LOST_AFTER_SECONDS": "30", "METER_RESUME_SECONDS": "60"})
    settings = FlusherSettings()  # type: ignore[call-arg]
    assert (settings.rules.lost_after_seconds, settings.rules.resume_seconds) == (30, 60)
    assert "hidden" not in repr(settings)


def test_migrations_say_what_to_do_without_a_postgres(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _set(monkeypatch, {"DATABASE_URL": "postgresql://u:hidden@127.0.0.1:1/x"})
    monkeypatch.setenv("METER_MIGRATE_WAIT_SECONDS", "0")
    with pytest.raises(SystemExit) as stopped:
        run_migrations()
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert "DATABASE_URL" in message
    assert "hidden" not in message
