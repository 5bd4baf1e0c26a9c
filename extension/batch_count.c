/*
 * batch_count.c
 *		Counting what the next batch holds.
 *
 * All of it comes from one snapshot: the last batch, the segments, the rows.
 * The rows are counted for the readers, who compare, and by table and kind for
 * notifications.
 */
#include "postgres.h"

#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "batch_count.h"
#include "change_log.h"
#include "compat.h"

static CsTableCount *
table_count(CsNextBatch *next, int32 publication)
{
	CsTableCount *count = next->last_count;
	ListCell *cell;

	if (count != NULL && count->publication == publication)
		return count;
	foreach (cell, next->counts)
	{
		count = lfirst(cell);
		if (count->publication == publication)
			return next->last_count = count;
	}
	count = palloc0(sizeof(CsTableCount));
	count->publication = publication;
	next->counts = lappend(next->counts, count);
	return next->last_count = count;
}

static bool
count_row(CsLogSegment *segment, TupleTableSlot *row, void *arg)
{
	CsNextBatch *next = arg;
	CsBatch *batch = &next->batch;
	CsCount what;
	int64 seq;

	slot_getsomeattrs(row, LOG_OP + 1);
	seq = DatumGetInt64(row->tts_values[LOG_SEQ]);
	if (batch->changes == 0 || seq < batch->first_seq)
		batch->first_seq = seq;
	if (batch->changes == 0 || seq > batch->last_seq)
		batch->last_seq = seq;
	batch->changes++;
	next->in_segment++;

	what = cs_count_of_op(DatumGetChar(row->tts_values[LOG_OP]));
	if (what < CS_COUNTS)
		table_count(next, DatumGetInt32(row->tts_values[LOG_PUBLICATION]))->counts[what]++;
	return true;
}

static void
count_segment(CsNextBatch *next, int32 id)
{
	CsLogSegment *segment = cs_log_reader_segment(&next->reader, id);

	if (segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the change log has no segment %d", id)));
	next->in_segment = 0;
	cs_log_visit(segment, next->ranges, next->nranges, count_row, next);
	if (next->in_segment > 0)
		next->batch.segments[next->batch.nsegments++] = id;
}

static void
note_unsealed(CsNextBatch *next, const CsSegmentRow *segment)
{
	if (segment->state == CS_SEGMENT_CURRENT)
	{
		next->current = segment->id;
		next->current_since = segment->created_at;
	}
	else if (segment->state == CS_SEGMENT_CLOSED)
		next->closed = lappend_int(next->closed, segment->id);
}

static int
compare_ints(const void *a, const void *b)
{
	int32 x = *(const int32 *) a;
	int32 y = *(const int32 *) b;

	return (x > y) - (x < y);
}

static void
count_segments(CsNextBatch *next)
{
	List *segments = cs_log_segments(next->snapshot, next->before);
	ListCell *cell;

	next->batch.segments = palloc(sizeof(int32) * Max(list_length(segments), 1));
	foreach (cell, segments)
	{
		CsSegmentRow *segment = lfirst(cell);

		note_unsealed(next, segment);
		count_segment(next, segment->id);
	}
	qsort(next->batch.segments, next->batch.nsegments, sizeof(int32), compare_ints);
}

/* The publications that the batch tells to fetch anew. */
static void
list_resyncs(CsNextBatch *next)
{
	CsBatch *batch = &next->batch;
	ListCell *cell;

	batch->resync = palloc(sizeof(int32) * Max(list_length(next->counts), 1));
	foreach (cell, next->counts)
	{
		CsTableCount *count = lfirst(cell);

		if (count->counts[CS_COUNT_RESYNC] > 0)
			batch->resync[batch->nresync++] = count->publication;
	}
	qsort(batch->resync, batch->nresync, sizeof(int32), compare_ints);
}

void
cs_next_batch(CsNextBatch *next)
{
	CsBatch last;

	memset(next, 0, sizeof(*next));
	next->snapshot = GetActiveSnapshot();
	next->value = OidFunctionCall0(F_PG_CURRENT_SNAPSHOT);

	next->before = cs_batch_last(next->snapshot, &last) ? last.snapshot : NULL;
	next->batch.id = next->before != NULL ? last.id + 1 : 1;
	next->batch.snapshot = cs_snapshot_copy(next->value);
	next->ranges = cs_xid_ranges(next->before, next->batch.snapshot, &next->nranges);
	cs_log_reader_begin(&next->reader, next->snapshot);
	count_segments(next);
	cs_log_reader_end(&next->reader);
	list_resyncs(next);
}
