-- How many users or rows of each kind of _USER_KINDS there are.

select count(*) filter (where u.id is null),
       count(*) filter (where a.id is null),
       count(*) filter (where a.id is not null and u.id is not null and a.deleted_at is null
                        and u.email::text is distinct from a.email::text),
       count(*) filter (where a.id is not null and u.id is not null and a.deleted_at is not null
                        and num_nonnulls(u.email, u.display_name, u.avatar_url) > 0)
from auth.users a full join public.users u on u.id = a.id
