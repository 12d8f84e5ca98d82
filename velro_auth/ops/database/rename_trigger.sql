-- Renames a trigger of the project on auth.users, to change when it fires: triggers of one event fire in the order of
-- their names. Its function does not change.
--
-- Only the owner of auth.users may rename or drop a trigger. But the owner of its function may drop the function with
-- the trigger, and then create both again, the trigger under the new name.

do $rename$
declare
    former constant name := $former$;
    wanted constant name := $wanted$;
    target record;
    refusal text;
    statements text[];
    statement text;
begin
    select t.oid, p.oid as function, p.oid::regprocedure::text as signature, p.proowner, pg_get_userbyid(p.proowner) as owner,
           coalesce(p.proacl, acldefault('f', p.proowner)) as rights, obj_description(p.oid, 'pg_proc') as comment
    into target
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = 'auth.users'::regclass and t.tgname = former and not t.tgisinternal;
    if not found then
        return;
    end if;
    refusal := format('the trigger %s on auth.users cannot be renamed: ', former);
    if not pg_has_role(target.proowner, 'usage') then
        raise exception using errcode = 'VA001',
            message = refusal || format('its function %s belongs to %s', target.signature, target.owner),
            hint = format('Create the function anew as %s, under another name, with a trigger that calls it, and drop'
                          ' the trigger %s.', current_user, former);
    end if;
    if exists (select from pg_depend d
               where d.refclassid = 'pg_proc'::regclass and d.refobjid = target.function and d.deptype = 'n'
                 and d.classid <> 'pg_trigger'::regclass)
        or exists (select from pg_depend d
                   where d.classid = 'pg_proc'::regclass and d.objid = target.function and d.deptype = 'e')
    then
        raise exception using errcode = 'VA001',
            message = refusal || format('other objects than triggers depend on its function %s', target.signature),
            hint = 'Give the trigger a function of its own.';
    end if;
    if exists (select from pg_trigger t where t.tgfoid = target.function
               and (t.tgenabled <> 'O' or obj_description(t.oid, 'pg_trigger') is not null))
    then
        raise exception using errcode = 'VA001',
            message = refusal || format('a trigger of its function %s is switched off, or has a comment', target.signature),
            hint = 'Drop that trigger or its comment, as the owner of its table.';
    end if;

    select array[
        pg_get_functiondef(target.function),
        format('alter function %s owner to %I', target.signature, target.owner),
        format('revoke all on function %s from public, %s', target.signature, (
            select string_agg(quote_ident(r.rolname), ', ') from pg_roles r
            where r.rolname in ('anon', 'authenticated', 'service_role', target.owner)))
    ]
        || array(select format('grant execute on function %s to %s%s', target.signature,
                               coalesce(quote_ident(r.rolname), 'public'),
                               case when x.is_grantable and x.grantee <> target.proowner then ' with grant option' else '' end)
                 from aclexplode(target.rights) with ordinality x left join pg_roles r on r.oid = x.grantee
                 order by x.ordinality)
        || array(select format('comment on function %s is %L', target.signature, target.comment)
                 where target.comment is not null)
        || array(select case when t.oid = target.oid
                             then regexp_replace(pg_get_triggerdef(t.oid), '^(CREATE (CONSTRAINT )?TRIGGER ).*? (BEFORE|AFTER|INSTEAD OF) ',
                                                 format('\1%s \3 ', replace(quote_ident(wanted), '\', '\\')))
                             else pg_get_triggerdef(t.oid) end
                 from pg_trigger t
                 where t.tgfoid = target.function and not t.tgisinternal and t.tgparentid = 0 order by t.oid)
    into statements;
    execute format('drop function %s cascade', target.signature);
    foreach statement in array statements loop
        execute statement;
    end loop;
end;
$rename$
