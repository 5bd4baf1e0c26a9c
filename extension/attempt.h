/*
 * attempt.h
 *		Printing a value that may be too large to print.
 */
#ifndef CLINIC_SYNC_ATTEMPT_H
#define CLINIC_SYNC_ATTEMPT_H

/*
 * Call work(arg) and return true; false if it failed.  Only a cancelled
 * statement is an error still.  The memory context is kept.
 */
extern bool cs_attempt(void (*work)(void *arg), void *arg);

#endif /* CLINIC_SYNC_ATTEMPT_H */
