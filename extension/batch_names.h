/*
 * batch_names.h
 *		Names and words of the changes that readers get.
 */
#ifndef CLINIC_SYNC_BATCH_NAMES_H
#define CLINIC_SYNC_BATCH_NAMES_H

#include "nodes/pg_list.h"
#include "utils/snapshot.h"

/* The event and table of a publication; null if nothing knows it any more. */
typedef struct CsWireName
{
	int32 publication;
	bool isnull;
	Datum event;
	Datum name;
} CsWireName;

/* Those that one answer has met. */
typedef struct CsWireNames
{
	Snapshot snapshot;
	MemoryContext context;
	List *names; /* of CsWireName * */
	CsWireName *last;
} CsWireNames;

extern void cs_wire_names_begin(CsWireNames *names, Snapshot snapshot);
extern const CsWireName *cs_wire_name(CsWireNames *names, int32 publication);

/* The protocol's word for an operation as text; (Datum) 0 if there is none. */
extern Datum cs_operation_word(char op);

/* A comma list of the tables of these publications, as text. */
extern Datum cs_resync_names(const int32 *publications, int count);

/* A time as the protocol writes it. */
#define CS_TIME_BYTES 64
extern void cs_utc_text(TimestampTz moment, char buf[CS_TIME_BYTES]);

#endif /* CLINIC_SYNC_BATCH_NAMES_H */
