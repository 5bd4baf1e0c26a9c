/* Descriptors that wake the loop; see link_watch.h. */
#include "link_watch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "link_private.h"

struct link_watch {
	struct lws *wsi;
};

int link_watch_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
			size_t len)
{
	struct link_watch *watch = lws_get_opaque_user_data(wsi);

	(void)user, (void)in, (void)len;
	if (reason == LWS_CALLBACK_RAW_CLOSE_FILE && watch)
		watch->wsi = NULL;
	/* being here is all: the step ends after it */
	return 0;
}

struct link_watch *link_watch_new(struct link_loop *loop, int fd)
{
	struct lws_vhost *vhost = lws_get_vhost_by_name(link_loop_context(loop), "default");
	struct link_watch *watch = calloc(1, sizeof(*watch));
	lws_sock_file_fd_type own;

	/* lws closes what it is given, so it gets one of its own */
	own.filefd = watch ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (own.filefd < 0) {
		free(watch);
		return NULL;
	}
	watch->wsi = lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, own,
						LINK_PROTOCOL_WATCH, NULL);
	if (!watch->wsi) {
		close(own.filefd);
		free(watch);
		return NULL;
	}
	lws_set_opaque_user_data(watch->wsi, watch);
	return watch;
}

void link_watch_free(struct link_watch *watch)
{
	if (!watch)
		return;
	if (watch->wsi) {
		lws_set_opaque_user_data(watch->wsi, NULL);
		lws_set_timeout(watch->wsi, PENDING_TIMEOUT_KILLED_BY_PARENT, LWS_TO_KILL_ASYNC);
	}
	free(watch);
}
