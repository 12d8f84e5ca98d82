-- Users whose rows in public.users are missing or outdated, at most so many.

select a.id from auth.users a left join public.users u on u.id = a.id
where u.id is null
   or (a.deleted_at is null and u.email::text is distinct from a.email::text)
   or (a.deleted_at is not null and num_nonnulls(u.email, u.display_name, u.avatar_url) > 0)
order by a.id limit %s
