-- Triggers of the project on auth.users: name, function, and whether its text inserts the row that ours made, without
-- "on conflict" or an exception handler.

select t.tgname, p.oid::regprocedure::text,
       (t.tgtype & 6) = 4 and t.tgenabled <> 'D' and t.tgname > 'on_auth_user_created'
       and (p.prosrc ~* 'insert\s+into\s+"?public"?\."?users"?\M'
            or p.prosrc ~* 'insert\s+into\s+"?users"?\M'
            and exists (select from unnest(p.proconfig) setting where setting ~ '^search_path=.*\mpublic\M'))
       and p.prosrc !~* 'on\s+conflict|unique_violation|when\s+others'
from pg_trigger t join pg_proc p on p.oid = t.tgfoid
where t.tgrelid = 'auth.users'::regclass and not t.tgisinternal
  and p.oid is distinct from to_regprocedure('public.handle_new_auth_user()')::oid
  and p.pronamespace is distinct from to_regnamespace('velro_auth')::oid
order by t.tgname;
