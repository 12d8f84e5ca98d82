-- Our triggers that are switched off, with their function, and whether this role may change their table.

select t.tgname, t.tgrelid::regclass::text, t.tgfoid::regprocedure::text, pg_has_role(c.relowner, 'usage')
from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_proc p on p.oid = t.tgfoid
join pg_namespace n on n.oid = p.pronamespace
where not t.tgisinternal and t.tgenabled <> 'O' and t.tgname = any (%s)
  and (n.nspname = 'velro_auth' or p.proname = 'handle_new_auth_user')
