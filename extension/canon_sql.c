/*
 * canon_sql.c
 *		SQL functions canon() and raw_bytes().
 *
 * A snapshot's query uses them to print what capture would have logged and to
 * leave out the rows that are too large (see also row_held.c).
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "canon.h"
#include "compat.h"

/* The form of canon()'s argument, looked up once per call site. */
static CsCanon *
argument_canon(FmgrInfo *flinfo)
{
	if (flinfo->fn_extra == NULL)
	{
		Oid type = get_fn_expr_argtype(flinfo, 0);
		CsCanon *canon;

		if (!OidIsValid(type))
			ereport(ERROR, (errcode(ERRCODE_INDETERMINATE_DATATYPE),
							errmsg("could not determine the type of the value")));
		canon = MemoryContextAlloc(flinfo->fn_mcxt, sizeof(CsCanon));
		cs_canon_init(canon, type, flinfo->fn_mcxt);
		flinfo->fn_extra = canon;
	}
	return flinfo->fn_extra;
}

/* A call of canon(). */
typedef struct CanonCall
{
	CsCanon *canon;
	Datum value;
	text *result;
} CanonCall;

static void
make_text(void *arg)
{
	CanonCall *call = arg;
	char scratch[CS_CANON_SCRATCH];
	Size length;
	const char *bytes = cs_canon_text(call->canon, call->value, scratch, &length);

	call->result = cstring_to_text_with_len(bytes, length);
}

PG_FUNCTION_INFO_V1(clinic_sync_canon);

/*
 * canon(value anyelement) RETURNS text
 *		Canonical text of any value.
 */
Datum
clinic_sync_canon(PG_FUNCTION_ARGS)
{
	CanonCall call = {argument_canon(fcinfo->flinfo), PG_GETARG_DATUM(0), NULL};

	if (call.canon->pinned)
		cs_canon_pinned(make_text, &call);
	else
		make_text(&call);
	PG_RETURN_TEXT_P(call.result);
}

/* The lengths of the types of raw_bytes()'s arguments, by call site. */
static int16 *
argument_lengths(FunctionCallInfo fcinfo)
{
	FmgrInfo *flinfo = fcinfo->flinfo;

	if (flinfo->fn_extra == NULL)
	{
		int16 *lengths;

		if (get_fn_expr_variadic(flinfo))
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("raw_bytes() cannot take its arguments from an array")));
		lengths = MemoryContextAlloc(flinfo->fn_mcxt, sizeof(int16) * Max(PG_NARGS(), 1));
		for (int i = 0; i < PG_NARGS(); i++)
			lengths[i] = get_typlen(get_fn_expr_argtype(flinfo, i));
		flinfo->fn_extra = lengths;
	}
	return flinfo->fn_extra;
}

PG_FUNCTION_INFO_V1(clinic_sync_raw_bytes);

/*
 * raw_bytes(VARIADIC "any") RETURNS bigint
 *		Bytes of the values before compression, read from their headers.
 *		NULLs and types of fixed length count 0.
 */
Datum
clinic_sync_raw_bytes(PG_FUNCTION_ARGS)
{
	int16 *lengths = argument_lengths(fcinfo);
	int64 total = 0;

	for (int i = 0; i < PG_NARGS(); i++)
	{
		if (!PG_ARGISNULL(i))
			total += cs_raw_bytes(lengths[i], PG_GETARG_DATUM(i));
	}
	PG_RETURN_INT64(total);
}
