/*
 * The SQLite that the cache's core is compiled against.
 *
 * The command and the library link a libsqlite3.  clinic_cache.so must not: it
 * works on a connection of whoever loads it, and two SQLites in one process
 * that open one file destroy each other's locks.  Compiled with CACHE_LOADABLE
 * every sqlite3_* name goes through the table that the loader hands over.
 */
#ifndef CLINIC_CACHE_SQLITE_H
#define CLINIC_CACHE_SQLITE_H

#ifdef CACHE_LOADABLE
#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT3
#else
#include <sqlite3.h>
#endif

#endif
