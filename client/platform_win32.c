/*
 * platform.h on Windows.
 *
 * Names are UTF-8 outside and UTF-16 here, as with SQLite.  The lock is one
 * byte far behind the end of the lock file: ranges that are locked here cannot
 * be read by others, and the process id in front must be.  Windows does not
 * tell who holds a range, so asking means trying, for a moment.
 */
#ifdef _WIN32

#include "platform.h"

/* clang-format off: the others need what windows.h declares */
#include <windows.h>
#include <bcrypt.h>
/* clang-format on */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_AT_HIGH 0x40000000u /* upper half of the lock's offset */
#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define NAME_TRIES_MOST 10

const char *platform_error(char *out)
{
	DWORD code = GetLastError();
	DWORD len = FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL,
				   code, 0, out, PLATFORM_ERROR_BYTES, NULL);

	while (len > 0 && (out[len - 1] == '\n' || out[len - 1] == '\r' || out[len - 1] == '.'))
		out[--len] = '\0';
	if (len == 0)
		snprintf(out, PLATFORM_ERROR_BYTES, "error %lu", (unsigned long)code);
	SetLastError(code);
	return out;
}

/* ---- text ------------------------------------------------------------------------------- */

char *platform_format(const char *fmt, ...)
{
	va_list args;
	char *text;
	int len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	text = len < 0 ? NULL : malloc((size_t)len + 1);
	if (!text)
		return NULL;
	va_start(args, fmt);
	vsnprintf(text, (size_t)len + 1, fmt, args);
	va_end(args);
	return text;
}

bool platform_same_name(const char *a, const char *b)
{
	return _stricmp(a, b) == 0;
}

/* Owned by the caller; NULL: out of memory, or no UTF-8. */
static wchar_t *wide(const char *path)
{
	int count = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
	wchar_t *out = count > 0 ? malloc((size_t)count * sizeof(*out)) : NULL;

	if (out)
		MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, out, count);
	return out;
}

static char *narrow(const wchar_t *text)
{
	int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
	char *out = size > 0 ? malloc((size_t)size) : NULL;

	if (out)
		WideCharToMultiByte(CP_UTF8, 0, text, -1, out, size, NULL, NULL);
	return out;
}

static HANDLE open_file(const char *path, DWORD access, DWORD how, DWORD flags)
{
	wchar_t *name = wide(path);
	HANDLE file = name ? CreateFileW(name, access, SHARE_ALL, NULL, how, flags, NULL)
			   : INVALID_HANDLE_VALUE;

	free(name);
	return file;
}

/* ---- files by name ---------------------------------------------------------------------- */

bool platform_exists(const char *path)
{
	wchar_t *name = wide(path);
	bool there = name && GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES;

	free(name);
	return there;
}

char *platform_real_path(const char *path)
{
	HANDLE file = open_file(path, 0, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
	DWORD room = file == INVALID_HANDLE_VALUE ? 0 : GetFinalPathNameByHandleW(file, NULL, 0, 0);
	wchar_t *name = room ? malloc(((size_t)room + 1) * sizeof(*name)) : NULL;
	DWORD len = name ? GetFinalPathNameByHandleW(file, name, room + 1, 0) : 0;
	char *out = len > 0 && len <= room ? narrow(name) : NULL;

	free(name);
	if (file != INVALID_HANDLE_VALUE)
		CloseHandle(file);
	return out;
}

uint64_t platform_file_id(const char *path)
{
	HANDLE file = open_file(path, 0, OPEN_EXISTING, 0);
	BY_HANDLE_FILE_INFORMATION info;
	uint64_t id = 0;

	if (file == INVALID_HANDLE_VALUE)
		return 0;
	if (GetFileInformationByHandle(file, &info))
		id = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow;
	CloseHandle(file);
	return id;
}

void platform_remove(const char *path)
{
	wchar_t *name = wide(path);

	if (name)
		DeleteFileW(name);
	free(name);
}

static bool move_file(const char *from, const char *to, DWORD flags)
{
	wchar_t *old_name = wide(from);
	wchar_t *new_name = wide(to);
	bool good = old_name && new_name && MoveFileExW(old_name, new_name, flags);
	DWORD code = GetLastError();

	free(old_name);
	free(new_name);
	SetLastError(code);
	return good;
}

bool platform_rename(const char *from, const char *to)
{
	return move_file(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH);
}

platform_placing platform_place(const char *from, const char *to)
{
	if (move_file(from, to, MOVEFILE_WRITE_THROUGH))
		return PLATFORM_PLACED;
	switch (GetLastError()) {
	case ERROR_ALREADY_EXISTS:
	case ERROR_FILE_EXISTS:
		return PLATFORM_TAKEN;
	default:
		return PLATFORM_FAILED;
	}
}

bool platform_sync_file(const char *path)
{
	HANDLE file = open_file(path, GENERIC_READ | GENERIC_WRITE, OPEN_EXISTING, 0);
	bool good = file != INVALID_HANDLE_VALUE && FlushFileBuffers(file);

	platform_close((platform_file)file);
	return good;
}

bool platform_sync_directory_of(const char *path)
{
	/* a name is on the disk when MOVEFILE_WRITE_THROUGH returns; there is nothing to flush */
	return platform_exists(path);
}

/* ---- open files ------------------------------------------------------------------------- */

platform_file platform_open_nameless(const char *path)
{
	HANDLE file = INVALID_HANDLE_VALUE;

	for (int i = 0; i < NAME_TRIES_MOST && file == INVALID_HANDLE_VALUE; i++) {
		unsigned long long random;
		char *name;

		if (BCryptGenRandom(NULL, (PUCHAR)&random, sizeof(random),
				    BCRYPT_USE_SYSTEM_PREFERRED_RNG) != 0)
			break;
		name = platform_format("%s.stage-%016llx", path, random);
		if (!name)
			break;
		/* the system removes it with its last handle, also when the process is killed */
		file = open_file(name, GENERIC_READ | GENERIC_WRITE, CREATE_NEW,
				 FILE_ATTRIBUTE_TEMPORARY | FILE_ATTRIBUTE_HIDDEN |
					 FILE_FLAG_DELETE_ON_CLOSE);
		free(name);
		if (file == INVALID_HANDLE_VALUE && GetLastError() != ERROR_FILE_EXISTS)
			break;
	}
	return (platform_file)file;
}

static OVERLAPPED at_offset(uint64_t at)
{
	OVERLAPPED where = {0};

	where.Offset = (DWORD)at;
	where.OffsetHigh = (DWORD)(at >> 32);
	return where;
}

bool platform_append(platform_file file, const void *bytes, size_t len)
{
	const char *from = bytes;

	while (len > 0) {
		DWORD part = len > 1u << 30 ? 1u << 30 : (DWORD)len;
		OVERLAPPED end = at_offset(UINT64_MAX); /* all ones: the end of the file */
		DWORD done = 0;

		if (!WriteFile((HANDLE)file, from, part, &done, &end) || done == 0)
			return false;
		from += done;
		len -= done;
	}
	return true;
}

bool platform_read_at(platform_file file, uint64_t at, void *bytes, size_t len)
{
	char *to = bytes;

	while (len > 0) {
		DWORD part = len > 1u << 30 ? 1u << 30 : (DWORD)len;
		OVERLAPPED where = at_offset(at);
		DWORD done = 0;

		if (!ReadFile((HANDLE)file, to, part, &done, &where) || done == 0)
			return false;
		to += done;
		at += done;
		len -= done;
	}
	return true;
}

void platform_close(platform_file file)
{
	DWORD code = GetLastError();

	if (file != PLATFORM_NO_FILE)
		CloseHandle((HANDLE)file);
	SetLastError(code);
}

/* ---- lock files ------------------------------------------------------------------------- */

platform_file platform_open_lock(const char *name, bool create)
{
	HANDLE file = open_file(name, GENERIC_READ | GENERIC_WRITE,
				create ? OPEN_ALWAYS : OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT);
	BY_HANDLE_FILE_INFORMATION info;

	if (file == INVALID_HANDLE_VALUE)
		return PLATFORM_NO_FILE;
	if (GetFileInformationByHandle(file, &info) &&
	    !(info.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT))
		return (platform_file)file;
	CloseHandle(file);
	SetLastError(ERROR_CANT_ACCESS_FILE);
	return PLATFORM_NO_FILE;
}

platform_locking platform_lock(platform_file file)
{
	OVERLAPPED where = at_offset((uint64_t)LOCK_AT_HIGH << 32);

	if (LockFileEx((HANDLE)file, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
		       &where))
		return PLATFORM_LOCKED;
	return GetLastError() == ERROR_LOCK_VIOLATION || GetLastError() == ERROR_IO_PENDING
		       ? PLATFORM_HELD
		       : PLATFORM_LOCK_FAILED;
}

bool platform_lock_is_held(platform_file file)
{
	OVERLAPPED where = at_offset((uint64_t)LOCK_AT_HIGH << 32);
	platform_locking result = platform_lock(file);

	if (result == PLATFORM_LOCKED)
		UnlockFileEx((HANDLE)file, 0, 1, 0, &where);
	return result == PLATFORM_HELD;
}

bool platform_has_name(platform_file file, const char *name)
{
	HANDLE named = open_file(name, 0, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT);
	BY_HANDLE_FILE_INFORMATION ours, theirs;
	bool same = named != INVALID_HANDLE_VALUE &&
		    GetFileInformationByHandle((HANDLE)file, &ours) &&
		    GetFileInformationByHandle(named, &theirs) &&
		    ours.dwVolumeSerialNumber == theirs.dwVolumeSerialNumber &&
		    ours.nFileIndexHigh == theirs.nFileIndexHigh &&
		    ours.nFileIndexLow == theirs.nFileIndexLow;

	platform_close((platform_file)named);
	return same;
}

bool platform_write_note(platform_file file, const char *text)
{
	LARGE_INTEGER begin = {.QuadPart = 0};
	OVERLAPPED where = at_offset(0);
	DWORD done = 0;

	return SetFilePointerEx((HANDLE)file, begin, NULL, FILE_BEGIN) &&
	       SetEndOfFile((HANDLE)file) &&
	       WriteFile((HANDLE)file, text, (DWORD)strlen(text), &done, &where) &&
	       done == strlen(text);
}

bool platform_read_note(platform_file file, char *text, size_t size)
{
	OVERLAPPED where = at_offset(0);
	DWORD done = 0;

	if (!ReadFile((HANDLE)file, text, (DWORD)(size - 1), &done, &where))
		done = 0;
	text[done] = '\0';
	return done > 0;
}

int platform_process_id(void)
{
	return (int)GetCurrentProcessId();
}

#endif
