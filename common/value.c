/*
 * Canonical texts and SQLite values; see value.h.
 *
 * Numbers are converted without the C locale's help where that is possible,
 * and with its decimal point put right where it is not: the library lives in
 * other people's processes.
 */
#include "value.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES_MOST 400   /* longer than any double PostgreSQL prints */
#define DECIMAL_UNITS_MOST 1e15 /* below this, units of a decimal are exact in a double */

/* -5, 0, 123; no leading zero, no plus: what an integer type prints. */
static bool parse_integer(const char *text, size_t len, int64_t *out)
{
	bool negative = len > 0 && text[0] == '-';
	uint64_t most = (uint64_t)INT64_MAX + (negative ? 1 : 0);
	uint64_t value = 0;
	size_t i = negative ? 1 : 0;

	if (i == len || (text[i] == '0' && len > 1))
		return false;
	for (; i < len; i++) {
		unsigned digit = (unsigned)text[i] - '0';

		if (digit > 9 || value > (most - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*out = negative ? (int64_t)(0 - value) : (int64_t)value;
	return true;
}

/* digits[.digits][e[+-]digits], signed: the numbers both float and numeric print. */
static bool is_number(const char *text, size_t len)
{
	size_t i = len > 0 && text[0] == '-' ? 1 : 0;
	size_t digits = strspn(text + i, "0123456789");

	if (digits == 0)
		return false;
	i += digits;
	if (i < len && text[i] == '.') {
		digits = strspn(text + i + 1, "0123456789");
		if (digits == 0)
			return false;
		i += 1 + digits;
	}
	if (i < len && text[i] == 'e') {
		i++;
		if (text[i] == '+' || text[i] == '-')
			i++;
		digits = strspn(text + i, "0123456789");
		if (digits == 0)
			return false;
		i += digits;
	}
	return i == len;
}

/* strtod() reads with the locale's decimal point; canonical text has a dot. number is NUL-ended. */
static double parse_real(char *number)
{
	char point = localeconv()->decimal_point[0];
	char *dot = strchr(number, '.');

	if (dot)
		*dot = point;
	return strtod(number, NULL);
}

/*
 * A decimal of at most 15 digits is units / 10^scale; both are whole doubles,
 * so the quotient is the nearest double, the same that strtod() finds.
 */
static bool parse_decimal(const char *text, size_t len, int scale, double *out)
{
	bool negative = len > 0 && text[0] == '-';
	int64_t units = 0;
	int after_point = -1;
	double divisor = 1;

	for (size_t i = negative ? 1 : 0; i < len; i++) {
		if (text[i] == '.') {
			after_point = 0;
			continue;
		}
		units = units * 10 + (text[i] - '0');
		if (units >= (int64_t)DECIMAL_UNITS_MOST)
			return false;
		if (after_point >= 0)
			after_point++;
	}
	if ((after_point < 0 ? 0 : after_point) != scale)
		return false;
	for (int i = 0; i < scale; i++)
		divisor *= 10;
	*out = (double)(negative ? -units : units) / divisor;
	return true;
}

/* True when b, which holds the printed number, is the text; b's content is dropped. */
static bool prints_back(struct dynbuf *b, const char *text, size_t len)
{
	bool same = b->len == len && memcmp(b->data, text, len) == 0;

	dynbuf_reset(b);
	return same;
}

static bool decide_real(const struct schema_column *column, const char *text, size_t len,
			struct dynbuf *scratch, struct bound_value *out)
{
	char number[NUMBER_BYTES_MOST + 1];

	if ((len == 3 && memcmp(text, "NaN", 3) == 0)) {
		/* SQLite has no NaN: a bound one is stored as NULL, which a key may not be */
		out->kind = BIND_TEXT;
		out->bytes = text;
		out->len = len;
		out->exact = false;
		return true;
	}
	out->kind = BIND_REAL;
	if ((len == 8 && memcmp(text, "Infinity", 8) == 0) ||
	    (len == 9 && memcmp(text, "-Infinity", 9) == 0)) {
		out->real = text[0] == '-' ? -HUGE_VAL : HUGE_VAL;
		return true;
	}
	if (len > NUMBER_BYTES_MOST)
		return false;
	memcpy(number, text, len);
	number[len] = '\0';
	if (!is_number(number, len))
		return false;
	if (column->class == CLASS_DECIMAL && strchr(number, 'e'))
		return false;
	if (column->class != CLASS_DECIMAL || !parse_decimal(text, len, column->scale, &out->real))
		out->real = parse_real(number);
	dynbuf_reset(scratch);
	/* a REAL column stores whole numbers as integers, and those have no -0 */
	out->exact = value_print_real(column, out->real, scratch) &&
		     !(out->real == 0 && signbit(out->real));
	out->exact = prints_back(scratch, text, len) && out->exact;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decide_blob(const char *text, size_t len, struct dynbuf *scratch,
			struct bound_value *out)
{
	dynbuf_reset(scratch);
	if (len < 2 || len % 2 != 0 || text[0] != '\\' || text[1] != 'x')
		return false;
	for (size_t i = 2; i < len; i += 2) {
		int high = hex_digit(text[i]);
		int low = hex_digit(text[i + 1]);
		char byte;

		if (high < 0 || low < 0)
			return false;
		byte = (char)(high * 16 + low);
		if (!dynbuf_add(scratch, &byte, 1))
			return false;
	}
	out->kind = BIND_BLOB;
	out->bytes = scratch->len ? scratch->data : "";
	out->len = scratch->len;
	return true;
}

bool value_decide(const struct schema_column *column, const char *text, size_t len,
		  struct dynbuf *scratch, struct bound_value *out)
{
	memset(out, 0, sizeof(*out));
	out->exact = true;
	switch (column->class) {
	case CLASS_BOOLEAN:
		out->kind = BIND_INTEGER;
		out->integer = len == 4;
		return (len == 4 && memcmp(text, "true", 4) == 0) ||
		       (len == 5 && memcmp(text, "false", 5) == 0);
	case CLASS_INTEGER:
	case CLASS_BIGINT:
		out->kind = BIND_INTEGER;
		return parse_integer(text, len, &out->integer);
	case CLASS_FLOAT:
	case CLASS_DECIMAL:
		return decide_real(column, text, len, scratch, out);
	case CLASS_BLOB:
		return decide_blob(text, len, scratch, out);
	case CLASS_TEXT:
		break;
	}
	out->kind = BIND_TEXT;
	out->bytes = text;
	out->len = len;
	return true;
}

bool value_print_integer(const struct schema_column *column, int64_t value, struct dynbuf *b)
{
	char digits[24];
	char *at = digits + sizeof(digits);
	uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	if (column->class == CLASS_BOOLEAN)
		return dynbuf_adds(b, value ? "true" : "false");
	/* by hand: a digest prints millions of them */
	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	if (value < 0)
		*--at = '-';
	return dynbuf_add(b, at, (size_t)(digits + sizeof(digits) - at));
}

/* What printf wrote, with a dot whatever the locale says. */
static bool add_printed(struct dynbuf *b, char *printed)
{
	char *point = strchr(printed, localeconv()->decimal_point[0]);

	if (point)
		*point = '.';
	return dynbuf_adds(b, printed);
}

static bool print_decimal(int scale, double value, struct dynbuf *b)
{
	char digits[NUMBER_BYTES_MOST];
	char *at = digits + sizeof(digits);
	double scaled = value;
	uint64_t units;

	for (int i = 0; i < scale; i++)
		scaled *= 10;
	if (fabs(scaled) >= DECIMAL_UNITS_MOST) {
		snprintf(digits, sizeof(digits), "%.*f", scale, value);
		return add_printed(b, digits);
	}
	units = (uint64_t)llround(fabs(scaled));
	for (int i = 0; i < scale || units || i == scale; i++) {
		if (i == scale && scale > 0)
			*--at = '.';
		*--at = (char)('0' + units % 10);
		units /= 10;
	}
	if (value < 0 && llround(fabs(scaled)) != 0)
		*--at = '-';
	return dynbuf_add(b, at, (size_t)(digits + sizeof(digits) - at));
}

/*
 * PostgreSQL prints the shortest digits that read back as the same number,
 * with an exponent below 1e-4 and from 1e15 on (1e6 for real).
 */
static bool print_float(bool single, double value, struct dynbuf *b)
{
	char text[64];
	int exponent;
	int precision;

	/* fifteen digits are faithful, so a shorter form is them without their last zeros */
	precision = fabs(value) < DBL_MIN ? 0 : 14;
	do
		snprintf(text, sizeof(text), "%.*e", precision, value);
	while (strtod(text, NULL) != value && ++precision <= 16);
	if (precision == 14)
		while (precision > 0 && text[precision + 1 + (text[0] == '-')] == '0')
			precision--;
	snprintf(text, sizeof(text), "%.*e", precision > 16 ? 16 : precision, value);
	exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
	if (exponent >= -4 && exponent < (single ? 6 : 15))
		snprintf(text, sizeof(text), "%.*f",
			 precision > exponent ? precision - exponent : 0, value);
	return add_printed(b, text);
}

bool value_print_real(const struct schema_column *column, double value, struct dynbuf *b)
{
	if (isnan(value))
		return dynbuf_adds(b, "NaN");
	if (isinf(value))
		return dynbuf_adds(b, value < 0 ? "-Infinity" : "Infinity");
	if (column->class == CLASS_DECIMAL)
		return print_decimal(column->scale, value, b);
	return print_float(strcmp(column->type, "real") == 0, value, b);
}

bool value_print_blob(const void *bytes, size_t len, struct dynbuf *b)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *byte = bytes;

	dynbuf_adds(b, "\\x");
	for (size_t i = 0; i < len; i++) {
		char pair[2] = {hex[byte[i] >> 4], hex[byte[i] & 15]};

		dynbuf_add(b, pair, 2);
	}
	return !b->failed;
}

bool value_print_stored(const struct schema_column *column, const struct bound_value *stored,
			struct dynbuf *scratch, const char **text, size_t *len)
{
	dynbuf_reset(scratch);
	switch (stored->kind) {
	case BIND_NULL:
	case BIND_TEXT:
		*text = stored->kind == BIND_NULL ? NULL : stored->bytes;
		*len = stored->kind == BIND_NULL ? 0 : stored->len;
		return true;
	case BIND_INTEGER:
		/* a REAL column keeps whole numbers as integers, and an app's may be INTEGER */
		if (column->class == CLASS_FLOAT || column->class == CLASS_DECIMAL)
			value_print_real(column, (double)stored->integer, scratch);
		else
			value_print_integer(column, stored->integer, scratch);
		break;
	case BIND_REAL:
		value_print_real(column, stored->real, scratch);
		break;
	case BIND_BLOB:
		value_print_blob(stored->bytes, stored->len, scratch);
		break;
	}
	*text = scratch->data;
	*len = scratch->len;
	return !scratch->failed;
}

bool value_add_json(struct dynbuf *b, const struct schema_column *column, const char *text,
		    size_t len)
{
	if (!text)
		return dynbuf_adds(b, "null");
	if (column->class == CLASS_BOOLEAN || column->class == CLASS_INTEGER)
		return dynbuf_add(b, text, len);
	return dynbuf_add_json(b, text, len);
}

/* ---- row hashes ------------------------------------------------------------------------- */

struct row_hash {
	EVP_MD *sha256; /* fetched once: looking it up costs more than hashing a row */
	EVP_MD_CTX *context;
	unsigned char pending[2048]; /* short values gathered, so that a row is one update */
	size_t len;
	bool failed;
};

struct row_hash *row_hash_new(void)
{
	struct row_hash *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	h->context = EVP_MD_CTX_new();
	if (h->sha256 && h->context)
		return h;
	row_hash_free(h);
	return NULL;
}

void row_hash_free(struct row_hash *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->context);
	EVP_MD_free(h->sha256);
	free(h);
}

bool row_hash_begin(struct row_hash *h)
{
	h->len = 0;
	h->failed = EVP_DigestInit_ex(h->context, h->sha256, NULL) != 1;
	return !h->failed;
}

static void hash_bytes(struct row_hash *h, const void *bytes, size_t len)
{
	if (len > sizeof(h->pending) - h->len) {
		if (EVP_DigestUpdate(h->context, h->pending, h->len) != 1)
			h->failed = true;
		h->len = 0;
	}
	if (len > sizeof(h->pending)) {
		if (EVP_DigestUpdate(h->context, bytes, len) != 1)
			h->failed = true;
		return;
	}
	memcpy(h->pending + h->len, bytes, len);
	h->len += len;
}

bool row_hash_add(struct row_hash *h, const char *text, size_t len)
{
	char head[24];
	char *at = head + sizeof(head);
	size_t rest = len;

	if (!text) {
		hash_bytes(h, "N", 1);
		return !h->failed;
	}
	*--at = ':';
	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	*--at = 'V';
	hash_bytes(h, at, (size_t)(head + sizeof(head) - at));
	if (len)
		hash_bytes(h, text, len);
	return !h->failed;
}

bool row_hash_end(struct row_hash *h, uint64_t *out)
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	if (EVP_DigestUpdate(h->context, h->pending, h->len) != 1 ||
	    EVP_DigestFinal_ex(h->context, digest, NULL) != 1)
		h->failed = true;
	*out = 0;
	for (int i = 0; i < 8; i++)
		*out = *out << 8 | digest[i];
	return !h->failed;
}
