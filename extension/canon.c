/*
 * canon.c
 *		Canonical text of a value: one form in log, snapshot, frames, digest.
 *
 * 1. The canonical text of a value is what its type's output function prints
 *	  under fixed settings (DateStyle ISO, IntervalStyle postgres, TimeZone UTC,
 *	  extra_float_digits 1, bytea_output hex), whatever the session has set.
 *
 * 2. Only timestamps differ from that: they have the ISO form that the
 *	  clinic's app compares as text, "2026-11-23T08:00:00.000", with six
 *	  decimals only when the last three are not zero, and "Z" if zoned.
 *
 * 3. Settings are pinned by writing the C variables behind them and putting
 *	  them back in PG_FINALLY.  Going through the settings machinery (a GUC
 *	  nest level) costs more than all the rest of capturing a row, and would
 *	  report a changed DateStyle to the client.
 *
 * 4. The common types do not go through their output functions at all, which
 *	  saves the pinning, a call and a copy.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "canon.h"
#include "compat.h"

static CsCanonKind
canon_kind(Oid base)
{
	switch (base)
	{
		case BOOLOID:
			return CS_CANON_BOOL;
		case INT2OID:
			return CS_CANON_INT2;
		case INT4OID:
			return CS_CANON_INT4;
		case DATEOID:
			return CS_CANON_DATE;
		case TIMESTAMPOID:
			return CS_CANON_TIMESTAMP;
		case TIMESTAMPTZOID:
			return CS_CANON_TIMESTAMPTZ;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
			return CS_CANON_TEXT;
		case BYTEAOID:
			return CS_CANON_BYTEA;
		default:
			return CS_CANON_OUTPUT;
	}
}

/*
 * Types known to print the same under every setting, and never much longer
 * than they are stored.  A type that is not listed only costs some time.
 */
static bool
output_is_plain(Oid base)
{
	return base == INT8OID || base == NUMERICOID || base == UUIDOID || base == NAMEOID ||
		   base == OIDOID || base == CHAROID || base == INETOID || base == CIDROID ||
		   get_typtype(base) == TYPTYPE_ENUM;
}

void
cs_canon_init(CsCanon *canon, Oid type, MemoryContext context)
{
	Oid base = getBaseType(type);

	memset(canon, 0, sizeof(CsCanon));
	canon->kind = canon_kind(base);
	canon->typlen = get_typlen(base);

	if (canon->kind == CS_CANON_OUTPUT)
	{
		Oid output;
		bool varlena;

		getTypeOutputInfo(base, &output, &varlena);
		fmgr_info_cxt(output, &canon->output, context);
		canon->pinned = !output_is_plain(base);
		canon->unbounded = canon->pinned && canon->typlen < 0;
	}
}

bool
cs_canon_is_literal(const CsCanon *canon)
{
	return canon->kind == CS_CANON_BOOL || canon->kind == CS_CANON_INT2 ||
		   canon->kind == CS_CANON_INT4;
}

Size
cs_raw_bytes(int16 typlen, Datum value)
{
	if (typlen != -1)
		return 0;
	if (cs_is_plain_varlena(DatumGetPointer(value)))
		return VARSIZE_ANY_EXHDR(DatumGetPointer(value));
	return toast_raw_datum_size(value) - VARHDRSZ;
}

/*
 * Settings of the output functions.
 */

/* What the output functions look at. */
typedef struct PinnedSettings
{
	int date_style;
	int date_order;
	int interval_style;
	int float_digits;
	int bytea_form;
	pg_tz *timezone;
} PinnedSettings;

static void
pin_settings(PinnedSettings *saved)
{
	static pg_tz *utc = NULL;

	if (utc == NULL)
		utc = pg_tzset("GMT"); /* the one name that needs no time zone files */

	saved->date_style = DateStyle;
	saved->date_order = DateOrder;
	saved->interval_style = IntervalStyle;
	saved->float_digits = extra_float_digits;
	saved->bytea_form = bytea_output;
	saved->timezone = session_timezone;

	DateStyle = USE_ISO_DATES;
	DateOrder = DATEORDER_MDY;
	IntervalStyle = INTSTYLE_POSTGRES;
	extra_float_digits = 1;
	bytea_output = BYTEA_OUTPUT_HEX;
	session_timezone = utc;
}

static void
restore_settings(const PinnedSettings *saved)
{
	DateStyle = saved->date_style;
	DateOrder = saved->date_order;
	IntervalStyle = saved->interval_style;
	extra_float_digits = saved->float_digits;
	bytea_output = saved->bytea_form;
	session_timezone = saved->timezone;
}

void
cs_canon_pinned(void (*work)(void *arg), void *arg)
{
	PinnedSettings saved;

	pin_settings(&saved);
	PG_TRY();
	{
		work(arg);
	}
	PG_FINALLY();
	{
		restore_settings(&saved);
	}
	PG_END_TRY();
}

/*
 * Texts by kind.
 */

/* "2026-11-23T08:00:00." */
static char *
put_date_and_time(char *p, int year, const struct pg_tm *tm)
{
	p = pg_ultostr_zeropad(p, year, 4);
	*p++ = '-';
	p = pg_ultostr_zeropad(p, tm->tm_mon, 2);
	*p++ = '-';
	p = pg_ultostr_zeropad(p, tm->tm_mday, 2);
	*p++ = 'T';
	p = pg_ultostr_zeropad(p, tm->tm_hour, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, tm->tm_min, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, tm->tm_sec, 2);
	*p++ = '.';
	return p;
}

/* By hand: snprintf() would cost more than everything else about a row. */
static Size
timestamp_text(Timestamp value, bool zoned, char *buf)
{
	struct pg_tm tm;
	fsec_t fsec; /* microseconds */
	bool bc;
	char *p;

	if (TIMESTAMP_IS_NOBEGIN(value))
		return strlcpy(buf, "-infinity", CS_CANON_SCRATCH);
	if (TIMESTAMP_IS_NOEND(value))
		return strlcpy(buf, "infinity", CS_CANON_SCRATCH);
	if (timestamp2tm(value, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));

	/* there is no year 0: 1 BC comes before 1 AD */
	bc = tm.tm_year <= 0;
	p = put_date_and_time(buf, bc ? 1 - tm.tm_year : tm.tm_year, &tm);
	if (fsec % 1000 == 0)
		p = pg_ultostr_zeropad(p, fsec / 1000, 3);
	else
		p = pg_ultostr_zeropad(p, fsec, 6);
	if (zoned)
		*p++ = 'Z';
	if (bc)
	{
		*p++ = ' ';
		*p++ = 'B';
		*p++ = 'C';
	}
	return p - buf;
}

static Size
date_text(DateADT value, char *buf)
{
	struct pg_tm tm = {0};

	if (DATE_IS_NOBEGIN(value))
		return strlcpy(buf, "-infinity", CS_CANON_SCRATCH);
	if (DATE_IS_NOEND(value))
		return strlcpy(buf, "infinity", CS_CANON_SCRATCH);
	j2date(value + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	EncodeDateOnly(&tm, USE_ISO_DATES, buf);
	return strlen(buf);
}

static const char *
bytea_text(Datum value, Size *length)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);
	Size n = VARSIZE_ANY_EXHDR(bytes);
	char *buf = palloc(2 + 2 * n);

	buf[0] = '\\';
	buf[1] = 'x';
	hex_encode(VARDATA_ANY(bytes), n, buf + 2);
	*length = 2 + 2 * n;
	return buf;
}

const char *
cs_canon_text(CsCanon *canon, Datum value, char *scratch, Size *length)
{
	switch (canon->kind)
	{
		case CS_CANON_BOOL:
			*length = DatumGetBool(value) ? 4 : 5;
			return DatumGetBool(value) ? "true" : "false";
		case CS_CANON_INT2:
			*length = pg_itoa(DatumGetInt16(value), scratch);
			return scratch;
		case CS_CANON_INT4:
			*length = pg_ltoa(DatumGetInt32(value), scratch);
			return scratch;
		case CS_CANON_DATE:
			*length = date_text(DatumGetDateADT(value), scratch);
			return scratch;
		case CS_CANON_TIMESTAMP:
			*length = timestamp_text(DatumGetTimestamp(value), false, scratch);
			return scratch;
		case CS_CANON_TIMESTAMPTZ:
			*length = timestamp_text(DatumGetTimestampTz(value), true, scratch);
			return scratch;
		case CS_CANON_BYTEA:
			return bytea_text(value, length);
		case CS_CANON_TEXT:
		{
			struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

			*length = VARSIZE_ANY_EXHDR(text);
			return VARDATA_ANY(text);
		}
		case CS_CANON_OUTPUT:
		{
			char *text = OutputFunctionCall(&canon->output, value);

			*length = strlen(text);
			return text;
		}
	}
	pg_unreachable();
}
