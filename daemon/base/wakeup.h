/* SPDX-License-Identifier: MIT */
/*
 * An eventfd that makes one thread wake up to look at a queue.
 *
 * Theory of operation: a producer that adds to an empty queue raises the eventfd; the consumer
 * polls it, and quiets it before it takes from the queue. What is added afterwards finds the
 * queue empty again, or is still taken in this round: no entry is left without a wake-up.
 */
#ifndef WAKEUP_H
#define WAKEUP_H

/* A new eventfd, or -errno. The caller closes it by wakeup_close(). */
int wakeup_open(void);
/* Closes *fd unless it is negative, and sets it to -1. */
void wakeup_close(int *fd);
/* Makes fd readable. Any thread. */
void wakeup_raise(int fd);
/* Makes fd unreadable until it is raised again. The thread that polls it. */
void wakeup_quiet(int fd);

/* Waits a moment. For loops, if a call failed that normally does not: what they were woken for is
 * still there, and they must not spin until the fault is over. Any thread. */
void wakeup_stumble(void);

#endif
