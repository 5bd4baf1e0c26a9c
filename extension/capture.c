/*
 * capture.c
 *		The triggers that write the change log.
 *
 * 1. Between transactions, the order of log rows is the order of a row's
 *	  changes.  Inside one transaction it is not: AFTER triggers fire when the
 *	  statement is over, and another trigger may have changed the same row, or
 *	  another row of the statement, before ours is called for it.
 *
 * 2. So a change is logged as it happened (i, u, d) only if nothing else of
 *	  this transaction can stand against it: the new version is still the
 *	  newest, and the old one was there before this transaction.
 *
 * 3. In every other case what is logged is the row's present state: `p` with
 *	  the row that has the key now, `p` without data if none has.  Whatever the
 *	  order of the calls, the last one for a key then says what is true, and
 *	  `u` and `d` are only said of rows that a cache has at that point.
 *
 * 4. A change of the key is the end of the old key and the present state of
 *	  the new one.  Two keys are the same if their canonical texts are.
 *
 * 5. An update that changes no published column is not logged.  That holds for
 *	  the order problem too: each change that does alter a published column is
 *	  followed by a log row that shows it, or something later.
 *
 * 6. Nothing here may fail for a row that the table accepts.  What cannot be
 *	  logged whole is logged by its key (`o`), and a table that has lost its
 *	  primary key is marked for resync (`r`).
 *
 * Memory: the executor calls triggers in a context that it resets after each
 * row, so nothing is freed by hand.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "change_log.h"
#include "compat.h"
#include "key_filter.h"
#include "notify.h"
#include "publication_cache.h"
#include "row_image.h"
#include "row_state.h"

/*
 * Guards.
 */

static TriggerData *
require_trigger(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"%s\" must be called as a trigger", name)));
	return (TriggerData *) fcinfo->context;
}

static void
reject_trigger(TriggerData *trigger, const char *shape)
{
	ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					errmsg("trigger \"%s\" on table \"%s\" must be %s", trigger->tg_trigger->tgname,
						   RelationGetRelationName(trigger->tg_relation), shape),
					errhint("Triggers of clinic_sync are created by clinic_sync.publish().")));
}

/* publish() creates triggers of the right shape; CREATE TRIGGER need not. */
static TriggerData *
require_after_row(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = require_trigger(fcinfo, "capture_row");

	if (!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		reject_trigger(trigger, "AFTER ... FOR EACH ROW");
	return trigger;
}

static TriggerData *
require_after_truncate(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = require_trigger(fcinfo, "capture_truncate");

	if (!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		reject_trigger(trigger, "AFTER TRUNCATE");
	return trigger;
}

/*
 * Parts of a change.
 */

/* The transaction that has last logged a key as absent in an uncertain way. */
static FullTransactionId absent_in = {0};

/* A whole row: as op, or by its key if it is too large. */
static void
log_whole(CsPublication *pub, CsOp op, text *key, TupleTableSlot *row)
{
	text *data = cs_row_data(pub, row, NULL);

	cs_key_filter_add(&pub->present, key);
	cs_log_append(pub->id, data == NULL ? CS_OP_OVERSIZE : op, key, data);
}

static void
log_row(CsPublication *pub, CsOp op, TupleTableSlot *row)
{
	log_whole(pub, op, cs_row_key(pub, row), row);
}

/* The row that stands under its key now, or the news that none does. */
static void
log_present(CsPublication *pub, text *key, TupleTableSlot *present)
{
	if (present == NULL)
	{
		absent_in = GetTopFullTransactionId();
		cs_log_append(pub->id, CS_OP_PUT, key, NULL);
		return;
	}
	log_whole(pub, CS_OP_PUT, key, present);
	ExecDropSingleTupleTableSlot(present);
}

/* A row under this key was touched; what is there now? */
static void
log_present_of(CsPublication *pub, Relation rel, TupleTableSlot *row)
{
	text *key = cs_row_key(pub, row);

	log_present(pub, key, cs_present_row(pub, rel, row, key));
}

/*
 * A version was deleted, or has got another key.
 *
 * `d` says that caches have the row.  They have not if the key was used again
 * and freed since, and that was logged first: so once this transaction has
 * logged any key as absent, it says it in the form that holds in both cases.
 *
 * If the version was there before this transaction, and the transaction has
 * not logged a row under its key so far, then caches have that version now and
 * `d` is true of it.  A row that has got the key meanwhile is not logged yet:
 * the call for it is still to come.  So there is no need to look for one.
 */
static void
log_end_of(CsPublication *pub, Relation rel, TupleTableSlot *old, bool old_is_ours)
{
	text *key = cs_row_key(pub, old);
	bool sure = !old_is_ours && !FullTransactionIdEquals(absent_in, GetTopFullTransactionId());
	TupleTableSlot *present = NULL;

	if (!sure || cs_key_filter_may_have(&pub->present, key))
		present = cs_present_row(pub, rel, old, key);

	if (present == NULL && sure)
		cs_log_append(pub->id, CS_OP_DELETE, key, NULL);
	else
		log_present(pub, key, present);
}

/*
 * Kinds of change.  Each returns false if there was nothing to log.
 */

static bool
capture_insert(CsPublication *pub, TriggerData *trigger)
{
	if (cs_version_is_newest(trigger->tg_relation, trigger->tg_trigtuple))
		log_row(pub, CS_OP_INSERT, trigger->tg_trigslot);
	else
		log_present_of(pub, trigger->tg_relation, trigger->tg_trigslot);
	return true;
}

static bool
capture_delete(CsPublication *pub, TriggerData *trigger)
{
	log_end_of(pub, trigger->tg_relation, trigger->tg_trigslot,
			   cs_version_is_ours(trigger->tg_relation, trigger->tg_trigtuple));
	return true;
}

static bool
capture_key_change(CsPublication *pub, TriggerData *trigger)
{
	Relation rel = trigger->tg_relation;

	log_end_of(pub, rel, trigger->tg_trigslot, cs_version_is_ours(rel, trigger->tg_trigtuple));
	if (cs_version_is_newest(rel, trigger->tg_newtuple))
		log_row(pub, CS_OP_PUT, trigger->tg_newslot);
	else
		log_present_of(pub, rel, trigger->tg_newslot);
	return true;
}

static bool
capture_update(CsPublication *pub, TriggerData *trigger)
{
	Relation rel = trigger->tg_relation;
	TupleTableSlot *old = trigger->tg_trigslot;
	TupleTableSlot *new = trigger->tg_newslot;
	bool *changed;

	if (!cs_row_same_key(pub, old, new))
		return capture_key_change(pub, trigger);
	changed = cs_row_changed(pub, old, new);
	if (changed == NULL)
		return false;

	if (cs_version_is_ours(rel, trigger->tg_trigtuple) ||
		!cs_version_is_newest(rel, trigger->tg_newtuple))
		log_present_of(pub, rel, new);
	else if (cs_row_is_oversize(pub, old) || cs_row_is_risky(pub, old) || cs_row_is_risky(pub, new))
		log_row(pub, CS_OP_PUT, new); /* caches may not hold the old one, or not the new one */
	else
	{
		text *data = cs_row_data(pub, new, changed);

		cs_log_append(pub->id, data == NULL ? CS_OP_OVERSIZE : CS_OP_UPDATE, cs_row_key(pub, new),
					  data);
	}
	return true;
}

/*
 * Without a primary key there is no way to name a row.  One mark for resync in
 * each savepoint must do.
 */
static bool
capture_unkeyed(CsPublication *pub)
{
	static FullTransactionId marked_in = {0};
	static SubTransactionId marked_at = InvalidSubTransactionId;
	static int32 marked = 0;
	FullTransactionId xid = GetTopFullTransactionId();
	SubTransactionId savepoint = GetCurrentSubTransactionId();

	if (marked == pub->id && marked_at == savepoint && FullTransactionIdEquals(marked_in, xid))
		return false;
	marked = pub->id;
	marked_at = savepoint;
	marked_in = xid;
	cs_log_append(pub->id, CS_OP_RESYNC, NULL, NULL);
	return true;
}

static void
capture_event(CsPublication *pub, TriggerData *trigger)
{
	bool logged;
	CsCount count;

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		count = CS_COUNT_INSERT;
	else if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		count = CS_COUNT_UPDATE;
	else
		count = CS_COUNT_DELETE;

	if (pub->nkeys == 0)
	{
		logged = capture_unkeyed(pub);
		count = CS_COUNT_RESYNC;
	}
	else if (count == CS_COUNT_INSERT)
		logged = capture_insert(pub, trigger);
	else if (count == CS_COUNT_UPDATE)
		logged = capture_update(pub, trigger);
	else
		logged = capture_delete(pub, trigger);

	if (logged)
		cs_notify_count(pub->event, NameStr(pub->table), count);
}

PG_FUNCTION_INFO_V1(clinic_sync_capture_row);

/*
 * capture_row() RETURNS trigger
 *		Log one changed row.
 */
Datum
clinic_sync_capture_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_after_row(fcinfo);
	CsPublication *pub = cs_publication_get(trigger->tg_relation);

	if (pub == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is not published",
							   RelationGetRelationName(trigger->tg_relation)),
						errhint("Publish it with clinic_sync.publish(), or drop trigger \"%s\".",
								trigger->tg_trigger->tgname)));
	capture_event(pub, trigger);
	return PointerGetDatum(NULL); /* ignored for AFTER triggers */
}

/*
 * Truncation.
 */

/*
 * True if this leaf or plain table is empty, and locked by us so that it
 * stays empty.  The relcache entry is looked at without another lock.
 */
static bool
is_empty_and_ours(Oid relid)
{
	Relation rel = RelationIdGetRelation(relid);
	bool result;

	if (!RelationIsValid(rel))
		return false;
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		result = true;
	else
		result = CheckRelationLockedByMe(rel, AccessExclusiveLock, true) &&
				 RelationGetNumberOfBlocks(rel) == 0;
	RelationClose(rel);
	return result;
}

/*
 * The published table is empty if all its leaves are.  If only some were
 * truncated, or another trigger has filled one again, it is not.
 */
static bool
whole_table_is_empty(CsPublication *pub)
{
	List *leaves = find_all_inheritors(pub->root, NoLock, NULL);
	ListCell *cell;
	bool empty = true;

	foreach (cell, leaves)
		empty = empty && is_empty_and_ours(lfirst_oid(cell));
	list_free(leaves);
	return empty;
}

PG_FUNCTION_INFO_V1(clinic_sync_capture_truncate);

/*
 * capture_truncate() RETURNS trigger
 *		Log that a table is empty, or that a part of it was emptied.
 */
Datum
clinic_sync_capture_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_after_truncate(fcinfo);
	CsPublication *pub = cs_publication_get(trigger->tg_relation);
	bool empty;

	/* the trigger of a leaf survives its DETACH, and then means nothing */
	if (pub == NULL)
		return PointerGetDatum(NULL);

	empty = whole_table_is_empty(pub);
	cs_log_append(pub->id, empty ? CS_OP_TRUNCATE : CS_OP_RESYNC, NULL, NULL);
	cs_notify_count(pub->event, NameStr(pub->table), empty ? CS_COUNT_TRUNCATE : CS_COUNT_RESYNC);
	return PointerGetDatum(NULL);
}
