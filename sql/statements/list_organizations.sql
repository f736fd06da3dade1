-- Organizations by id.
--   $1 integer  how many      $2 text  the last one of the page before      $3 text  only this one
SELECT
    organization.id,
    organization.name,
    organization.monthly_audio_hours_limit,
    terms.organization_limit AS limit_seconds,
    organization.time_zone,
    terms.plan_id,
    organization.stripe_customer_id,
    (
        SELECT count(*) FROM organization_members WHERE organization_id = organization.id
    ) AS members,
    organization.created_at
FROM organizations AS organization
CROSS JOIN LATERAL account_terms(organization.id, NULL) AS terms
WHERE
    ($2::text IS NULL OR organization.id > $2)
    AND ($3::text IS NULL OR organization.id = $3)
ORDER BY organization.id
LIMIT $1
