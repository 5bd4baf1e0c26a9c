/*
 * batch_names.c
 *		Names and words of the changes that readers get.
 *
 * A log row has the number of its publication.  What that is called is looked
 * up in the tables publication and, for one that has ended, retired, in the
 * snapshot of the answer and once for each publication in it.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "parser/parse_func.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "batch_names.h"
#include "change_log.h"
#include "compat.h"
#include "own_tables.h"

void
cs_wire_names_begin(CsWireNames *names, Snapshot snapshot)
{
	*names = (CsWireNames){.snapshot = snapshot, .context = CurrentMemoryContext};
}

static Datum
column_copy(CsOwnScan *scan, HeapTuple row, const char *column)
{
	bool isnull;
	Datum value = cs_own_value(scan, row, column, &isnull);

	/* detoasted: it will be put into many rows */
	return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
}

/* Both tables begin with the column id and have few rows. */
static bool
look_up_in(const char *table, CsWireNames *names, CsWireName *name)
{
	CsOwnScan scan;
	HeapTuple row;
	bool isnull;

	cs_own_scan_begin(&scan, cs_own_relation(table), names->snapshot);
	while ((row = cs_own_scan_next(&scan)) != NULL)
	{
		if (DatumGetInt32(heap_getattr(row, 1, RelationGetDescr(scan.table), &isnull)) ==
			name->publication)
			break;
	}
	if (row != NULL)
	{
		name->event = column_copy(&scan, row, "event");
		name->name = column_copy(&scan, row, "name");
	}
	cs_own_scan_end(&scan);
	return row != NULL;
}

static CsWireName *
look_up(CsWireNames *names, int32 publication)
{
	MemoryContext caller = MemoryContextSwitchTo(names->context);
	CsWireName *name = palloc0(sizeof(CsWireName));

	name->publication = publication;
	name->isnull = !look_up_in("publication", names, name) && !look_up_in("retired", names, name);
	names->names = lappend(names->names, name);
	MemoryContextSwitchTo(caller);
	return name;
}

const CsWireName *
cs_wire_name(CsWireNames *names, int32 publication)
{
	ListCell *cell;

	if (names->last != NULL && names->last->publication == publication)
		return names->last;
	foreach (cell, names->names)
	{
		CsWireName *name = lfirst(cell);

		if (name->publication == publication)
			return names->last = name;
	}
	return names->last = look_up(names, publication);
}

static const char *
word(char op)
{
	switch (op)
	{
		case CS_OP_INSERT:
			return "insert";
		case CS_OP_UPDATE:
			return "update";
		case CS_OP_DELETE:
			return "delete";
		case CS_OP_PUT:
			return "put";
		case CS_OP_TRUNCATE:
			return "truncate";
		case CS_OP_SCHEMA:
			return "schema";
		case CS_OP_RESYNC:
			return "resync";
		case CS_OP_OVERSIZE:
			return "oversize";
		case CS_OP_ACK:
			return "ack";
		default:
			return NULL;
	}
}

/* Made once in a session for each operation. */
Datum
cs_operation_word(char op)
{
	static Datum words[UCHAR_MAX + 1];
	Datum *made = &words[(unsigned char) op];
	const char *text = word(op);

	if (*made == (Datum) 0 && text != NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		*made = CStringGetTextDatum(text);
		MemoryContextSwitchTo(caller);
	}
	return *made;
}

/* Rare, and sorted by the database's collation: SQL does it. */
Datum
cs_resync_names(const int32 *publications, int count)
{
	const Oid argument = INT4ARRAYOID;
	Oid function = LookupFuncName(list_make2(makeString("clinic_sync"), makeString("resync_names")),
								  1, &argument, false);
	Datum *elements = palloc(sizeof(Datum) * count);
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo info;
	Datum result;

	for (int i = 0; i < count; i++)
		elements[i] = Int32GetDatum(publications[i]);
	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, 1, DEFAULT_COLLATION_OID, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(
		construct_array(elements, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	fcinfo->args[0].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	return fcinfo->isnull ? (Datum) 0 : result;
}

void
cs_utc_text(TimestampTz moment, char buf[CS_TIME_BYTES])
{
	struct pg_tm tm;
	fsec_t fsec;

	if (timestamp2tm(moment, NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "timestamp out of range");
	snprintf(buf, CS_TIME_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year, tm.tm_mon,
			 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int) (fsec / 1000));
}
