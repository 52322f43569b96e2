// SPDX-License-Identifier: MIT
#include "routing_news.h"

#include <poll.h>

#include "thread.h"

static bool is_unread(const struct routing_news *news)
{
	struct pollfd pfd = {.fd = news->fd, .events = POLLIN};

	/* POLLERR says that events were lost. */
	return poll(&pfd, 1, 0) > 0;
}

void routing_news_init(struct routing_news *news, int fd)
{
	news->fd = fd;
	atomic_init(&news->unsettled, false);
}

/* In this order: an event that is read meanwhile has set the flag before. */
bool routing_news_pending(const struct routing_news *news)
{
	return is_unread(news) || routing_news_unsettled(news);
}

/* Only if there are events, or workers would leave AF_XDP in each round of the control thread. */
bool routing_news_begin(struct routing_news *news)
{
	bool unread = is_unread(news);

	assert_control_thread();
	if (unread)
		atomic_store(&news->unsettled, true);
	return unread;
}

void routing_news_end(struct routing_news *news)
{
	assert_control_thread();
	if (atomic_load_explicit(&news->unsettled, memory_order_relaxed))
		atomic_store(&news->unsettled, false);
}
