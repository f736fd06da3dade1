-- Who recorded within some days, and no more in the last of them, those first who recorded most.
--   $1 integer  how many      $2 bigint, $3 text  seconds and user of the last one of the page before
--   $4 integer  how many days without anything      $5 integer  within how many days
SELECT user_id, last_day, idle, seconds
FROM dropped_off_users($4, $1, $5, $2, $3)
