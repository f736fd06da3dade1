-- Notes the present periods of accounts whose overage is reported: those with a customer, and a plan
-- that has a meter. Gives the organizations that were looked at, in order.
--   $1 text  the last one before      $2 integer  how many
WITH account AS (
    SELECT
        organizations.id,
        organizations.stripe_customer_id,
        plans.stripe_meter_event_name
    FROM organizations
    JOIN user_subscriptions AS subscription
        ON subscription.organization_id = organizations.id AND subscription.ended_at IS NULL
    JOIN plans ON plans.id = subscription.plan_id
    WHERE
        organizations.id > $1
        AND organizations.stripe_customer_id IS NOT NULL
        AND plans.stripe_meter_event_name IS NOT NULL
    ORDER BY organizations.id
    LIMIT $2
), noted AS (
    INSERT INTO stripe_overage_periods AS kept (
        organization_id, period_start, period_end, time_zone, stripe_customer_id, event_name
    )
    SELECT
        account.id,
        period.period_start,
        period.period_end,
        period.time_zone,
        account.stripe_customer_id,
        account.stripe_meter_event_name
    FROM account
    CROSS JOIN LATERAL account_period(account.id) AS period
    ORDER BY account.id
    ON CONFLICT (organization_id, period_start) DO UPDATE
    SET
        period_end = excluded.period_end,
        time_zone = excluded.time_zone,
        stripe_customer_id = excluded.stripe_customer_id,
        event_name = excluded.event_name
    WHERE
        (kept.period_end, kept.time_zone, kept.stripe_customer_id, kept.event_name)
        IS DISTINCT FROM (
            excluded.period_end,
            excluded.time_zone,
            excluded.stripe_customer_id,
            excluded.event_name
        )
)
SELECT id FROM account ORDER BY id
