-- Who recorded from one day to another, those who did most first.
--   $1 integer  how many      $2 bigint, $3 text  seconds and user of the last one of the page before
--   $4 date  first      $5 date  last
SELECT user_id, seconds, days_active, last_day
FROM power_users($4, $1, $5, $2, $3)
