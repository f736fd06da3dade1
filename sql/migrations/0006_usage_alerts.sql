-- Thresholds that accounts have passed: one row each, however many sessions and gateways saw it.

CREATE TABLE usage_alerts (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    organization_id text NOT NULL,
    -- Whose limit it is: a member's, or null: the organization's.
    user_id text,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('remaining_minutes', 'percent')),
    value integer NOT NULL,
    -- As when it was noticed, a little after the threshold.
    used_seconds bigint NOT NULL CHECK (used_seconds >= 0),
    limit_seconds bigint NOT NULL CHECK (limit_seconds >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_alerts_period CHECK (period_start < period_end),
    CONSTRAINT usage_alerts_once
        UNIQUE NULLS NOT DISTINCT (organization_id, period_start, user_id, kind, value)
);
