// SPDX-License-Identifier: MIT
#include "routing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "thread.h"

/* Linux's own default. */
#define DEFAULT_TTL 64
#define TTL_SYSCTL  "/proc/sys/net/ipv4/ip_default_ttl"

static uint8_t read_default_ttl(void)
{
	char text[8] = "";
	int ttl, fd = open(TTL_SYSCTL, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return DEFAULT_TTL;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	ttl = atoi(text);
	return ttl > 0 && ttl <= UINT8_MAX ? (uint8_t)ttl : DEFAULT_TTL;
}

static int read_links_and_ttl(struct routing *t, uint64_t now)
{
	t->read_at = now;
	t->default_ttl = read_default_ttl();
	return links_read(&t->links, t->rtnl);
}

int routing_open(struct routing *t, struct rtnl *r, uint64_t now)
{
	assert_control_thread();
	t->rtnl = r;
	return read_links_and_ttl(t, now);
}

void routing_close(struct routing *t)
{
	assert_control_thread();
	links_clear(&t->links);
	neighbours_clear(&t->neighbours);
}

int routing_read(struct routing *t, uint64_t now)
{
	assert_control_thread();
	neighbours_clear(&t->neighbours);
	return read_links_and_ttl(t, now);
}

/* If the read fails, the table that events keep is still right, except for two sysctls. */
void routing_refresh(struct routing *t, uint64_t now)
{
	assert_control_thread();
	if (now >= t->read_at + ROUTING_MAX_AGE_NS)
		read_links_and_ttl(t, now);
}
