-- The days of a period, asked for by a plan that is made once a connection.

-- Seconds used on each day from one to another (inclusive) that has any: of a member of an organization,
-- or with a null member of all. Reads a row a member and day.
--
-- A member's days and everybody's are statements of their own. In one, the plan that is kept for all
-- parameters would be charged for everybody's days also where one member is asked for, so that Postgres
-- makes a plan anew each time as soon as the table is large, which takes longer than the answer. And the
-- kept plan is always taken: it goes by an index whatever the parameters are.
CREATE FUNCTION seconds_by_day(
    organization text, member text, first_day date, last_day date
)
RETURNS TABLE (day date, seconds bigint)
LANGUAGE plpgsql STABLE ROWS 31
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    IF member IS NULL THEN
        RETURN QUERY
        SELECT daily.day, sum(daily.seconds_used)::bigint
        FROM daily_usage AS daily
        WHERE daily.organization_id = organization AND daily.day BETWEEN first_day AND last_day
        GROUP BY daily.day
        HAVING sum(daily.seconds_used) > 0;
    ELSE
        RETURN QUERY
        SELECT daily.day, sum(daily.seconds_used)::bigint
        FROM daily_usage AS daily
        WHERE
            daily.user_id = member
            AND daily.organization_id = organization
            AND daily.day BETWEEN first_day AND last_day
        GROUP BY daily.day
        HAVING sum(daily.seconds_used) > 0;
    END IF;
END
$$;
