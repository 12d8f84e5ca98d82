-- Which sessions hold locks on the tables of users.

select string_agg(distinct format('%s (pid %s)', coalesce(a.usename, a.backend_type, 'the server itself'), a.pid), ', ')
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.granted and l.pid <> pg_backend_pid() and l.mode not in ('AccessShareLock', 'RowShareLock')
  and l.database = (select oid from pg_database where datname = current_database())
  and l.relation in (select c.oid from pg_class c where c.relname = 'users'
                     and c.relnamespace in (to_regnamespace('auth'), to_regnamespace('public')))
