/*
 * attempt.c
 *		Printing a value that may be too large to print.
 *
 * A text or bytea prints as at most six times its bytes, which the limit on
 * clinic_sync.max_row_bytes allows for.  An array of numerics can print as ten
 * thousand times its bytes ('1e100000'), more than PostgreSQL can hold as one
 * value.  The error of printing it must not become an error of the clinic's
 * write, so it is tried in a subtransaction, which is the only safe way to go
 * on after an error.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "attempt.h"
#include "compat.h"

bool
cs_attempt(void (*work)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		done = false;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}
