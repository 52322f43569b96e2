/* SPDX-License-Identifier: MIT */
/*
 * Tells ThreadSanitizer how liburcu and the kernel order memory accesses; included before
 * every file of `make SANITIZE=thread`. liburcu before 0.14 has its barriers in assembler
 * and in a library without instrumentation, so that all data published by it would look
 * like a race.
 *
 * Theory of operation: only what liburcu promises. An assigned pointer, a node of a queue
 * and an entry of a hash table publish what was written before. A grace period orders in
 * two directions: readers that went offline, or were quiescent, before the thread that
 * waited for them; and the thread that began to wait before readers that come back. It
 * never orders readers among each other, because that would hide real races. A frame that
 * one thread gives to the kernel by the fill or the TX ring may come back to another
 * thread by a ring that the kernel fills.
 */
#ifndef TSAN_H
#define TSAN_H

#include <stdlib.h>

#include <sanitizer/tsan_interface.h>
#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>
#include <urcu/wfcqueue.h>
#include <xdp/xsk.h>

/* Only their addresses matter; weak, so that the program has one of each. */
__attribute__((weak)) char tsan_readers_done, tsan_updates, tsan_callbacks, tsan_frames;

#undef rcu_dereference
#undef rcu_assign_pointer
#define rcu_dereference(p)	 __atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define rcu_assign_pointer(p, v) __atomic_store_n(&(p), v, __ATOMIC_RELEASE)

static inline void tsan_thread_offline(void)
{
	__tsan_release(&tsan_readers_done);
	urcu_qsbr_thread_offline();
}

static inline void tsan_quiescent_state(void)
{
	__tsan_release(&tsan_readers_done);
	urcu_qsbr_quiescent_state();
	__tsan_acquire(&tsan_updates);
}

static inline void tsan_thread_online(void)
{
	urcu_qsbr_thread_online();
	__tsan_acquire(&tsan_updates);
}

static inline void tsan_unregister_thread(void)
{
	__tsan_release(&tsan_readers_done);
	urcu_qsbr_unregister_thread();
}

/* A caller that is a reader is offline meanwhile; also in a barrier. */
static inline void tsan_synchronize_rcu(void)
{
	__tsan_release(&tsan_updates);
	__tsan_release(&tsan_readers_done);
	urcu_qsbr_synchronize_rcu();
	__tsan_acquire(&tsan_readers_done);
}

struct tsan_callback {
	struct rcu_head rcu;
	struct rcu_head *head;
	void (*func)(struct rcu_head *head);
};

static inline void tsan_run_callback(struct rcu_head *rcu)
{
	struct tsan_callback *c = caa_container_of(rcu, struct tsan_callback, rcu);

	__tsan_acquire(c);
	__tsan_acquire(&tsan_readers_done);
	c->func(c->head);
	free(c);
	__tsan_release(&tsan_callbacks);
}

static inline void tsan_call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *))
{
	struct tsan_callback *c = malloc(sizeof(*c));

	if (!c)
		abort();
	c->head = head;
	c->func = func;
	__tsan_release(c);
	urcu_qsbr_call_rcu(&c->rcu, tsan_run_callback);
}

static inline void tsan_barrier(void)
{
	__tsan_release(&tsan_readers_done);
	urcu_qsbr_barrier();
	__tsan_acquire(&tsan_callbacks);
}

static inline struct cds_wfcq_node *tsan_got(struct cds_wfcq_node *node)
{
	if (node)
		__tsan_acquire(node);
	return node;
}

static inline __u32 tsan_peek(struct xsk_ring_cons *ring, __u32 n, __u32 *idx)
{
	__u32 got = xsk_ring_cons__peek(ring, n, idx);

	if (got)
		__tsan_acquire(&tsan_frames);
	return got;
}

#define xsk_ring_cons__peek tsan_peek
#define xsk_ring_prod__submit(ring, n) \
	(__tsan_release(&tsan_frames), xsk_ring_prod__submit(ring, n))

#define urcu_qsbr_quiescent_state   tsan_quiescent_state
#define urcu_qsbr_thread_offline    tsan_thread_offline
#define urcu_qsbr_thread_online	    tsan_thread_online
#define urcu_qsbr_unregister_thread tsan_unregister_thread
#define urcu_qsbr_synchronize_rcu   tsan_synchronize_rcu
#undef urcu_qsbr_call_rcu
#define urcu_qsbr_call_rcu tsan_call_rcu
#undef urcu_qsbr_barrier
#define urcu_qsbr_barrier tsan_barrier

#define cds_wfcq_enqueue(head, tail, node) \
	(__tsan_release(node), cds_wfcq_enqueue(head, tail, node))
#define __cds_wfcq_dequeue_blocking(head, tail) \
	tsan_got(__cds_wfcq_dequeue_blocking(head, tail))
#define cds_lfht_add(ht, hash, node) (__tsan_release(ht), cds_lfht_add(ht, hash, node))
#define cds_lfht_lookup(ht, hash, match, key, iter) \
	(__tsan_acquire(ht), cds_lfht_lookup(ht, hash, match, key, iter))

#endif
