-- Who recorded most since a day, and who recorded once and no more for so many days.
--   $1 date  since      $2 integer  idle days      $3 integer  most of each
SELECT
    $1::date AS since,
    $2::integer AS idle_days,
    (
        SELECT coalesce(jsonb_agg(each ORDER BY each.seconds DESC, each.user_id), '[]')
        FROM power_users($1, $3) AS each
    ) AS power_users,
    (
        SELECT coalesce(jsonb_agg(each ORDER BY each.seconds DESC, each.user_id), '[]')
        FROM dropped_off_users($2, $3) AS each
    ) AS dropped_off
