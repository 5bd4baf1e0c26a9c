/* Result names and the "first error wins" rule. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>

const char *cs_status_name(cs_status status)
{
	switch (status) {
	case CS_OK:
		return "ok";
	case CS_AGAIN:
		return "again";
	case CS_ERR_NOMEM:
		return "out of memory";
	case CS_ERR_CONFIG:
		return "config";
	case CS_ERR_PROTOCOL:
		return "protocol";
	case CS_ERR_UPSTREAM:
		return "upstream";
	case CS_ERR_REFUSED:
		return "refused";
	case CS_ERR_BUSY:
		return "busy";
	case CS_ERR_STORE:
		return "store";
	case CS_ERR_DIVERGED:
		return "diverged";
	}
	return "unrecognized";
}

cs_status cs_fail(struct cs_error *err, cs_status status, const char *fmt, ...)
{
	va_list args;

	if (!err || err->status != CS_OK)
		return status;
	err->status = status;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return status;
}
