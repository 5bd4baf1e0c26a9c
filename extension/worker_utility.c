/*
 * worker_utility.c
 *		Commands that concern the workers, seen before or after they run.
 *
 * COMMIT PREPARED makes changes visible whose backend is long gone, so it
 * rings.  LISTEN clinic_sync is a relay that comes: its database gets a worker
 * without waiting for the first change.  And who wants a database for itself
 * (DROP, RENAME, a move, a copy by CREATE DATABASE) would meet our worker in
 * it: that is sent away first, and not let in again before the command is over.
 * So it is for DROP and ALTER EXTENSION, which lock all our tables in an order
 * of their own and would be the ones to lose a deadlock.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "clock.h"
#include "compat.h"
#include "notify.h"
#include "own_tables.h"
#include "worker.h"
#include "worker_slot.h"

#define BAR_MS 10000 /* longer than such a command waits for others to leave */

static ProcessUtility_hook_type next_utility = NULL;

/*
 * Which database a command wants for itself.
 */

static const char *
option_value(List *options, const char *name)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *option = lfirst(cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

static const char *
database_of(Node *command)
{
	const char *template;

	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_CreatedbStmt:
			template = option_value(((CreatedbStmt *) command)->options, "template");
			return template != NULL ? template : "template1";
		case T_AlterDatabaseStmt:
			if (option_value(((AlterDatabaseStmt *) command)->options, "tablespace") != NULL)
				return ((AlterDatabaseStmt *) command)->dbname;
			return NULL;
		case T_RenameStmt:
			if (((RenameStmt *) command)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) command)->subname;
			return NULL;
		default:
			return NULL;
	}
}

static bool
may_create_databases(void)
{
	HeapTuple role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool result = false;

	if (HeapTupleIsValid(role))
	{
		result = ((Form_pg_authid) GETSTRUCT(role))->rolcreatedb;
		ReleaseSysCache(role);
	}
	return result;
}

static bool
drops_extension(DropStmt *command)
{
	ListCell *cell;

	if (command->removeType != OBJECT_EXTENSION)
		return false;
	foreach (cell, command->objects)
	{
		if (strcmp(strVal(lfirst(cell)), "clinic_sync") == 0)
			return true;
	}
	return false;
}

static bool
changes_extension(Node *command)
{
	if (IsA(command, DropStmt))
		return drops_extension((DropStmt *) command);
	return IsA(command, AlterExtensionStmt) &&
		   strcmp(((AlterExtensionStmt *) command)->extname, "clinic_sync") == 0;
}

static bool
is_template(Oid database)
{
	HeapTuple row = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool result = false;

	if (HeapTupleIsValid(row))
	{
		result = ((Form_pg_database) GETSTRUCT(row))->datistemplate;
		ReleaseSysCache(row);
	}
	return result;
}

/* Who may create databases may copy one that is not his only if it is a template. */
static bool
may_clear(Node *command, Oid database)
{
	return cs_owns_database(database) ||
		   (IsA(command, CreatedbStmt) && may_create_databases() && is_template(database));
}

/* Of no use to who may not do such a thing: it would only disturb. */
static Oid
database_to_clear(Node *command)
{
	const char *name = database_of(command);
	Oid database;

	if (changes_extension(command))
		return superuser() ? MyDatabaseId : InvalidOid;
	if (name == NULL)
		return InvalidOid;
	database = get_database_oid(name, true);
	return OidIsValid(database) && may_clear(command, database) ? database : InvalidOid;
}

static void
bar_worker(Oid database, int64 until_ms)
{
	CsWorkerSlot *slot;

	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	slot = cs_worker_slot(database);
	if (slot != NULL)
	{
		slot->barred_until_ms = until_ms;
		if (until_ms != 0 && slot->pid != 0)
			kill(slot->pid, SIGTERM);
		else if (until_ms == 0)
			slot->failures = 0;
	}
	LWLockRelease(cs_workers_lock);
	cs_worker_wake(&cs_workers->launcher);
}

/*
 * The hook.
 */

static void
run_command(PlannedStmt *planned, const char *text, bool read_only, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver,
			QueryCompletion *completion)
{
	(next_utility ? next_utility : standard_ProcessUtility)(
		planned, text, read_only, context, params, environment, receiver, completion);
}

/* What is left to do when a command has succeeded, in its transaction. */
typedef enum After
{
	AFTER_NOTHING,
	AFTER_LISTEN, /* a relay has come */
	AFTER_COMMIT  /* somebody's changes have become visible */
} After;

static After
what_after(Node *command)
{
	if (IsA(command, ListenStmt) &&
		strcmp(((ListenStmt *) command)->conditionname, "clinic_sync") == 0)
		return AFTER_LISTEN;
	if (IsA(command, TransactionStmt) &&
		((TransactionStmt *) command)->kind == TRANS_STMT_COMMIT_PREPARED)
		return AFTER_COMMIT;
	return AFTER_NOTHING;
}

static void
do_after(After what)
{
	/* asking for the mode asks for a worker */
	if (what != AFTER_NOTHING && cs_extension_is_here() &&
		cs_notify_effective() == CS_NOTIFY_WORKER && what == AFTER_COMMIT)
		cs_worker_ring();
}

static void
on_utility(PlannedStmt *planned, const char *text, bool read_only, ProcessUtilityContext context,
		   ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver,
		   QueryCompletion *completion)
{
	/* asked before: the command may not outlive its execution */
	After after = what_after(planned->utilityStmt);
	Oid database = database_to_clear(planned->utilityStmt);

	if (!OidIsValid(database))
	{
		run_command(planned, text, read_only, context, params, environment, receiver, completion);
		do_after(after);
		return;
	}
	bar_worker(database, cs_clock_ms() + BAR_MS);
	PG_TRY();
	{
		run_command(planned, text, read_only, context, params, environment, receiver, completion);
	}
	PG_FINALLY();
	{
		bar_worker(database, 0);
	}
	PG_END_TRY();
}

void
cs_utility_hook_install(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = on_utility;
}
