-- Whoever has a session of an organization is known there from then on, and overage is stated once.

CREATE INDEX interview_sessions_members ON interview_sessions (organization_id, user_id);

-- As before; and who has begun to record, though no minute of it is durable yet. (The place where such
-- a session would be is looked up: of accounts with many sessions Postgres would expect to meet one
-- soon, and read them all where there is none.)
CREATE OR REPLACE FUNCTION is_member(organization text, member text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT
        organization = member
        OR EXISTS (
            SELECT FROM organization_members
            WHERE organization_id = organization AND user_id = member
        )
        OR EXISTS (
            SELECT FROM monthly_usage_cache
            WHERE user_id = member AND organization_id = organization
        )
        OR EXISTS (
            SELECT FROM profile_accounts
            WHERE user_id = member AND organization_id = organization
        )
        OR EXISTS (
            SELECT
            FROM (
                SELECT session.organization_id, session.user_id
                FROM interview_sessions AS session
                WHERE (session.organization_id, session.user_id) >= (organization, member)
                ORDER BY session.organization_id, session.user_id
                LIMIT 1
            ) AS found
            WHERE (found.organization_id, found.user_id) = (organization, member)
        )
$$;

-- Seconds past the limit in the billing period of an account that begins in a calendar month, where the
-- plan that it had then bills them: as overage_between() has it.
CREATE OR REPLACE FUNCTION overage_in(organization text, month date) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT past.overage_seconds
    FROM (SELECT (month + interval '1 month')::date - 1) AS last (day)
    CROSS JOIN LATERAL account_period(
        organization, start_of_day(last.day, zone_at(organization, last.day::timestamptz))
    ) AS period
    CROSS JOIN LATERAL overage_between(
        organization, period.period_start, period.period_end, period.time_zone
    ) AS past
$$;
