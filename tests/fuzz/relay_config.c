/* The relay's configuration file: any bytes give settings in their limits or one clear error. */
#include "config.h"
#include "config_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static cs_status set(void *ctx, const char *key, const char *value, int line, struct cs_error *err)
{
	if (line < 1)
		abort();
	return config_set(ctx, key, value, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config;
	struct cs_error err = {0};
	cs_status st;

	config_defaults(&config);
	st = config_file_parse((const char *)data, size, "fuzz.conf", set, &config, &err);
	if (st == CS_OK)
		st = config_validate(&config, &err);
	/* one line: an error of a configuration file ends in a log */
	if (st != CS_OK && (err.text[0] == '\0' || strchr(err.text, '\n')))
		abort();
	return 0;
}
