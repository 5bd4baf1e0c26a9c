/*
 * change_log.h
 *		Appending to the change log.
 */
#ifndef CLINIC_SYNC_CHANGE_LOG_H
#define CLINIC_SYNC_CHANGE_LOG_H

#include "utils/relcache.h"

#include "notify.h"

/* The letters are stored in the log; never renumber them. */
typedef enum CsOp
{
	CS_OP_INSERT = 'i',   /* whole row, it is new */
	CS_OP_UPDATE = 'u',   /* changed columns */
	CS_OP_DELETE = 'd',   /* key */
	CS_OP_PUT = 'p',      /* present row, or none if data is null */
	CS_OP_TRUNCATE = 't', /* the table is empty */
	CS_OP_SCHEMA = 's',   /* new columns */
	CS_OP_RESYNC = 'r',   /* its rows changed without events */
	CS_OP_OVERSIZE = 'o', /* key of a row that caches do not hold */
	CS_OP_ACK = 'a'       /* answer to a device's mutation */
} CsOp;

/* Columns of a segment, by position. */
enum
{
	LOG_SEQ,
	LOG_XID,
	LOG_PUBLICATION,
	LOG_OP,
	LOG_HEAD,
	LOG_KEY,
	LOG_DATA,
	LOG_ORIGIN,
	LOG_COLUMNS
};

/* What an operation counts as; CS_COUNTS if there is no such operation. */
extern CsCount cs_count_of_op(char op);

/* Append one row; key and data may be NULL. */
extern void cs_log_append(int32 publication, CsOp op, text *key, text *data);

/*
 * log_segment.c: the table that rows are written to
 */

#define CS_SEGMENT_MAX_INDEXES 16

/* What an index of a segment holds. */
typedef enum CsLogIndexKind
{
	CS_LOG_INDEX_HEADS, /* heads only, as ours on xid, see log_row.c */
	CS_LOG_INDEX_ALL,   /* every row */
	CS_LOG_INDEX_OTHER  /* what its definition says, or not in the form of a btree */
} CsLogIndexKind;

typedef struct CsSegmentIndex
{
	Oid oid;
	CsLogIndexKind kind;
} CsSegmentIndex;

typedef struct CsSegment
{
	int32 id;
	Oid table;
	int nindexes;
	CsSegmentIndex indexes[CS_SEGMENT_MAX_INDEXES];
} CsSegment;

extern CsLogIndexKind cs_log_index_kind(Relation index);

/*
 * Open the current segment's table, locked against sealing until the
 * transaction (or the savepoint in which it was first locked) ends.
 */
extern Relation cs_segment_open(CsSegment *segment);
extern Oid cs_segment_relation(int32 id);
extern void cs_segment_invalidate(Oid relid);
extern void cs_segment_init(void);

/*
 * log_limit.c: the limit on the log's size
 */

/* True if this transaction may log; otherwise the loss is on record. */
extern bool cs_log_has_room(const CsSegment *segment);
extern void cs_log_limit_init(void);

#endif /* CLINIC_SYNC_CHANGE_LOG_H */
