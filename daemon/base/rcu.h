/* SPDX-License-Identifier: MIT */
/*
 * RCU: starts it, and marks pointers that are published under it.
 *
 * A `struct nic __rcu *` is read by rcu_dereference() and written by rcu_assign_pointer() or
 * before any other thread can see it. What a reader found stays valid until the reader's next
 * quiescent state; what a writer replaced is freed a grace period later. The writer, which is
 * the control thread except if a comment at the member says otherwise, may read it plainly.
 * For the reader of the source only: the compiler checks nothing.
 */
#ifndef RCU_H
#define RCU_H

#define __rcu

/* Registers the calling thread with RCU and starts all of liburcu's own threads. liburcu aborts if
 * it cannot start one, so starting threads is tried first. They are started by a thread that calls
 * prepare() before, and inherit what it gives up there. 0 or -errno. Called once, by main(), before
 * there is anything to leave behind. */
int rcu_begin(void (*prepare)(void));

#endif
