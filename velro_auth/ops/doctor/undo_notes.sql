-- The rows of velro_auth.undo, with the statements that insert and delete them.

select 'note', format('%L of %L', u.subject, u.migration),
       format('insert into velro_auth.undo (position, migration, subject, statement, drops_data)'
              ' values (%s, %L, %L, %L, %L) on conflict do nothing',
              u.position, u.migration, u.subject, u.statement, u.drops_data),
       format('delete from velro_auth.undo where migration = %L and subject = %L', u.migration, u.subject), null
from velro_auth.undo u
