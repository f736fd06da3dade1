-- Whether an account's minutes are limited by its plan, and the monthly minutes of the other plans.
--   $1 text  organization      $2 text  user
SELECT
    account.plan_id IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM organizations
            WHERE id = $1 AND monthly_audio_hours_limit IS NOT NULL
        )
        AS is_limited_by_plan,
    (
        SELECT coalesce(jsonb_agg(others.limit_value), '[]')
        FROM plan_limits AS others
        WHERE
            others.usage_type = 'minutes_per_month'
            AND others.plan_id IS DISTINCT FROM account.plan_id
    ) AS other_minutes
FROM account_plan($1, $2) AS account (plan_id)
