-- What was used from one day to another, with its days and its sessions.
--   $1 text  organization      $2 text  user      $3 date  first      $4 date  last
--   $5 integer  most sessions      $6 timestamptz, $7 uuid  the last session of the page before
SELECT details.*
FROM jsonb_to_record(get_usage_details($2, $1, $3, $4, $5, $6, $7)) AS details (
    organization_id text, user_id text, first_day date, last_day date, time_zone text,
    period_start bigint, period_end bigint, seconds bigint, minutes bigint,
    adjusted_seconds bigint, days jsonb, sessions jsonb
)
