-- Keeps the users' write access to the project's own columns.
--
-- The migration replaces a grant on the whole table by grants on our columns. If that grant was the only one, the
-- project's frontend uses it: here it becomes a grant on each column of the project. If the project grants single
-- columns, the grant on the table was a default and is revoked. No access is added: row level security was off, or its
-- only policy for the command is the one that we create too, "the own row".

do $keep$
<<keep>>
declare
    migration constant text := '20261122100200';
    ours constant name[] := '{id,email,display_name,avatar_url,role,credits_balance,is_active,created_at,updated_at}';
    profiles constant regclass := to_regclass('public.users');
    privilege text;
    own text;
begin
    if profiles is null
        or exists (select from velro_auth.undo u
                   where u.migration = '20261122100200' and u.subject in ('rights on public.users', 'table public.users'))
    then
        return;
    end if;
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into own
    from pg_attribute a
    where a.attrelid = profiles and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attname <> all (ours);
    foreach privilege in array '{UPDATE,INSERT}'::text[] loop
        continue when own is null
            or not has_table_privilege('authenticated', profiles, privilege)
            or exists (select from velro_auth.rights(profiles) r
                       where r.grantee = 'authenticated' and r.privilege = keep.privilege and r.column_name is not null)
            or (select c.relrowsecurity from pg_class c where c.oid = profiles) and (
                not exists (select from pg_policies p where p.schemaname = 'public' and p.tablename = 'users'
                            and p.cmd in (privilege, 'ALL') and p.roles && '{public,authenticated}'
                            and p.permissive = 'PERMISSIVE')
                or exists (select from pg_policies p where p.schemaname = 'public' and p.tablename = 'users'
                           and p.cmd in (privilege, 'ALL') and p.roles && '{public,authenticated}'
                           and regexp_replace(concat_ws(',', p.qual, p.with_check), '[\s()]|SELECT|ASuid', '', 'g') !~
                               '^(auth\.uid=id|id=auth\.uid)(,(auth\.uid=id|id=auth\.uid))?$'));
        perform velro_auth.remember(
            migration, 'rights on public.users',
            'revoke all on public.users from public, anon, authenticated, service_role; '
                || velro_auth.grants('public.users'));
        execute format('revoke %s on public.users from public, authenticated', privilege);
        execute format('grant %s (%s) on public.users to authenticated', privilege, own);
        raise warning 'authenticated may % public.users (%) in the own row, as before: revoke what users should not write',
            lower(privilege), own;
    end loop;
end;
$keep$
