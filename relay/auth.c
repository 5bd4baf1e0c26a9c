/*
 * The access code; see auth.h.
 *
 * Digests are compared instead of the codes, so that neither the time nor the
 * number of steps tells the length of the right one.
 */
#include "auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

bool auth_code_good(const char *expected, const char *code)
{
	unsigned char a[SHA256_DIGEST_LENGTH], b[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)expected, strlen(expected), a);
	SHA256((const unsigned char *)code, strlen(code), b);
	return CRYPTO_memcmp(a, b, sizeof(a)) == 0 && expected[0];
}

bool auth_header_good(const char *expected, const char *header)
{
	if (strncasecmp(header, "Bearer ", 7) != 0)
		return false;
	header += 7;
	header += strspn(header, " ");
	return auth_code_good(expected, header);
}
