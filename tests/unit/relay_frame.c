/* Shared messages: references, headroom, taking over a builder's memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "frame.h"

static void a_new_frame_has_the_text_and_headroom(void **state)
{
	struct frame *f = frame_new("hello", 5);

	(void)state;
	assert_non_null(f);
	assert_int_equal(f->len, 5);
	assert_memory_equal(f->text, "hello", 5);
	assert_true(f->text - f->buffer >= FRAME_HEADROOM);
	/* the header may be written in front without harm */
	memset(f->text - FRAME_HEADROOM, 0xff, FRAME_HEADROOM);
	assert_memory_equal(f->text, "hello", 5);
	frame_unref(f);
}

static void references_keep_it(void **state)
{
	struct frame *f = frame_new("x", 1);

	(void)state;
	assert_ptr_equal(frame_ref(f), f);
	frame_unref(f);
	assert_memory_equal(f->text, "x", 1);
	frame_unref(f);
	frame_unref(NULL);
}

static void taking_empties_the_builder(void **state)
{
	struct dynbuf b;
	struct frame *f;

	(void)state;
	dynbuf_init(&b, 1000);
	assert_non_null(dynbuf_extend(&b, 100));
	assert_true(dynbuf_adds(&b, "message"));
	f = frame_take(&b, 100);
	assert_non_null(f);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_int_equal(f->len, 7);
	assert_memory_equal(f->text, "message", 7);
	frame_unref(f);
	dynbuf_free(&b);
}

static void an_empty_message_is_a_message(void **state)
{
	struct frame *f = frame_new("", 0);

	(void)state;
	assert_non_null(f);
	assert_int_equal(f->len, 0);
	frame_unref(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_frame_has_the_text_and_headroom),
		cmocka_unit_test(references_keep_it),
		cmocka_unit_test(taking_empties_the_builder),
		cmocka_unit_test(an_empty_message_is_a_message),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
