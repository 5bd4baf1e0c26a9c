/*
 * canon.h
 *		Canonical text of a value.
 */
#ifndef CLINIC_SYNC_CANON_H
#define CLINIC_SYNC_CANON_H

#include "compat.h"

/* How the canonical text of a type is made. */
typedef enum CsCanonKind
{
	CS_CANON_BOOL,
	CS_CANON_INT2,
	CS_CANON_INT4,
	CS_CANON_DATE,
	CS_CANON_TIMESTAMP,
	CS_CANON_TIMESTAMPTZ,
	CS_CANON_TEXT, /* stored bytes are the text */
	CS_CANON_BYTEA,
	CS_CANON_OUTPUT /* by the type's output function */
} CsCanonKind;

typedef struct CsCanon
{
	CsCanonKind kind;
	bool pinned;    /* output depends on session settings */
	bool unbounded; /* text may be far longer than the value */
	int16 typlen;
	FmgrInfo output; /* CS_CANON_OUTPUT only */
} CsCanon;

/* Room for the text of any value that is formatted in place. */
#define CS_CANON_SCRATCH 160

extern void cs_canon_init(CsCanon *canon, Oid type, MemoryContext context);

/*
 * Canonical text of a value that is not null.  The text lies in scratch, in
 * the value itself or in the current memory context, and is not terminated.
 * If canon->pinned, the caller is inside cs_canon_pinned().
 */
extern const char *cs_canon_text(CsCanon *canon, Datum value, char *scratch, Size *length);

/* True if JSON holds the canonical text as it is, without quotes. */
extern bool cs_canon_is_literal(const CsCanon *canon);

/* True if the bytes of the value are right here, neither compressed nor elsewhere. */
static inline bool
cs_is_plain_varlena(Pointer value)
{
	return VARATT_IS_4B_U(value) || (VARATT_IS_1B(value) && !VARATT_IS_1B_E(value));
}

/* Bytes of a value before compression; 0 for types of fixed length. */
extern Size cs_raw_bytes(int16 typlen, Datum value);

/* Call work(arg) under the settings that canonical texts are made with. */
extern void cs_canon_pinned(void (*work)(void *arg), void *arg);

#endif /* CLINIC_SYNC_CANON_H */
