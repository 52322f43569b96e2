/* SPDX-License-Identifier: MIT */
/*
 * Whether routes may have changed since paths were made.
 *
 * Theory of operation: an event of rtnetlink is in the event socket before the command that caused
 * it returns. So if a packet was sent after such a command, whoever has that packet in hand finds
 * one of three things: the event is still unread; or `unsettled` is set, because the control thread
 * sets it before it reads events and clears it when the paths that they concern are published; or
 * these paths are right already. A worker therefore asks when it has found that there are packets
 * on wg0, and before it looks up their paths. It does so once per round, as part of the poll() by
 * which it looks for work; packets that come later in that round are not covered.
 *
 * While there is news, workers send by the UDP sockets and leave the way to the kernel
 * (carrier.h). So the next packet takes the new way, even if the control thread has to wait for a
 * CPU.
 */
#ifndef ROUTING_NEWS_H
#define ROUTING_NEWS_H

#include <stdatomic.h>
#include <stdbool.h>

struct routing_news {
	int fd; /* of the socket that events of routing come by (rtnl_event_fd()) */
	atomic_bool unsettled;
};

void routing_news_init(struct routing_news *news, int fd);
/* Returns true if paths may be stale that the caller looks up from now on. Any thread. */
bool routing_news_pending(const struct routing_news *news);
/* The same if it is known that nothing is unread: `fd` is not readable. */
static inline bool routing_news_unsettled(const struct routing_news *news)
{
	return atomic_load(&news->unsettled);
}

/* Returns true if there are events to read. They must not be read otherwise, because one that
 * came after this look would not be news to workers. Control thread. */
bool routing_news_begin(struct routing_news *news);
/* All paths that the events concern have been published. Control thread. */
void routing_news_end(struct routing_news *news);

#endif
