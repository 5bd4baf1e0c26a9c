/*
 * batch_places.c
 *		The rows of a batch in their order.
 *
 * Rows of a batch are wanted in the order of seq.  Only their places are kept
 * and sorted, 16 bytes each, and the rows fetched by them: a row may be as
 * large as max_row_bytes.  If there are more than maintenance_work_mem has room
 * for, the first ones are taken, then the next, by another scan.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "utils/memutils.h"

#include "batch_places.h"
#include "change_log.h"
#include "compat.h"

#define FIRST_PLACES 64

static int
compare_places(const void *a, const void *b)
{
	int64 x = ((const CsLogPlace *) a)->seq;
	int64 y = ((const CsLogPlace *) b)->seq;

	return (x > y) - (x < y);
}

/* Rows of one transaction are found in their order: mostly there is nothing to do. */
static void
sort_places(CsLogPlaces *places)
{
	for (int64 i = 1; i < places->count; i++)
	{
		if (places->places[i - 1].seq > places->places[i].seq)
		{
			qsort(places->places, places->count, sizeof(CsLogPlace), compare_places);
			return;
		}
	}
}

/* Keep the first `most` places. */
static void
cut_off(CsLogPlaces *places)
{
	sort_places(places);
	if (places->count <= places->most)
		return;
	places->count = places->most;
	places->bound = places->places[places->count - 1].seq;
	places->more = true;
}

/* Room for one more: up to twice as many as are wanted, then the later half goes. */
static void
make_room(CsLogPlaces *places)
{
	int64 limit = places->most * 2;

	if (places->allocated >= limit)
	{
		cut_off(places);
		return;
	}
	places->allocated = Min(Max(places->allocated * 2, FIRST_PLACES), limit);
	places->places = repalloc_huge(places->places, sizeof(CsLogPlace) * places->allocated);
}

static bool
note_place(CsLogSegment *segment, TupleTableSlot *row, void *arg)
{
	CsLogPlaces *places = arg;
	CsLogPlace *place;
	int64 seq;

	slot_getsomeattrs(row, LOG_SEQ + 1);
	seq = DatumGetInt64(row->tts_values[LOG_SEQ]);
	if (seq <= places->after)
		return true;
	places->found++;
	if (seq > places->bound)
		return true;
	if (places->count == places->allocated)
		make_room(places);
	place = &places->places[places->count++];
	place->seq = seq;
	place->tid = row->tts_tid;
	place->segment = places->segment;
	return true;
}

/* Half of the memory: while they are collected there are up to twice as many. */
static int64
places_that_fit(void)
{
	return (int64) maintenance_work_mem * 1024 / 2 / sizeof(CsLogPlace);
}

bool
cs_log_collect(CsLogReader *reader, const CsBatch *batch, const CsSnapshot *before, int64 after,
			   int64 most, CsLogPlaces *places)
{
	int nranges;
	CsXidRange *ranges = cs_xid_ranges(before, batch->snapshot, &nranges);

	*places = (CsLogPlaces){.after = after,
							.most = Max(Min(most, places_that_fit()), 1),
							.bound = PG_INT64_MAX,
							.allocated = 1};
	places->places = palloc(sizeof(CsLogPlace));
	for (int i = 0; i < batch->nsegments; i++)
	{
		CsLogSegment *segment = cs_log_reader_segment(reader, batch->segments[i]);

		if (segment == NULL)
			return false;
		places->segment = i;
		cs_log_visit(segment, ranges, nranges, note_place, places);
	}
	cut_off(places);
	pfree(ranges);
	return true;
}

void
cs_log_places_free(CsLogPlaces *places)
{
	pfree(places->places);
}

TupleTableSlot *
cs_log_fetch(CsLogReader *reader, const CsBatch *batch, const CsLogPlace *place)
{
	CsLogSegment *segment = cs_log_reader_segment(reader, batch->segments[place->segment]);
	ItemPointerData tid = place->tid;

	if (!table_tuple_fetch_row_version(segment->table, &tid, reader->snapshot, segment->slot))
		return NULL;
	slot_getallattrs(segment->slot);
	return segment->slot;
}
