/* Messages of devices: any bytes are a checked message or one error that quotes nothing. */
#include "protocol_in.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct in_message message;
	struct cs_error err = {0};

	if (protocol_in_parse((const char *)data, size, &message, &err) != CS_OK) {
		if (err.text[0] == '\0')
			abort();
		return 0;
	}
	if (message.type == IN_CLIENT_INFO && message.client_info.device_id[0] == '\0')
		abort();
	in_message_free(&message);
	return 0;
}
