/* SPDX-License-Identifier: MIT */
/*
 * Which thread may call a function, asserted in debug builds (make DEBUG=1 or SANITIZE=...).
 *
 * A thread says what it is by thread_become(); a thread that never does is the control thread,
 * as main() is before it starts the others, and every unit test. A function that is not static
 * and belongs to one role begins with assert_control_thread() or assert_worker_thread(), before
 * anything is done; only plain declarations may come first. These end the program with a message
 * if the caller has another role. Other builds contain none of it. Inline functions in headers,
 * and code that owns nothing (protocol/, packet/, aead/), go without.
 */
#ifndef THREAD_H
#define THREAD_H

enum thread_role {
	THREAD_CONTROL, /* decides; there is one */
	THREAD_WORKER,	/* moves packets */
	THREAD_HELPER,	/* encrypts and decrypts for workers, and delivers for them */
	THREAD_RCU, /* liburcu's: frees what nobody reads any more, resizes hash tables */
};

/* Names the calling thread, as `ps -L` and debuggers show it: "worker/0". `kind` has at most 8
 * characters. */
void thread_name(const char *kind, unsigned number);

#ifdef THREAD_CHECKS

/* Sets the role of the calling thread. */
void thread_become(enum thread_role role);
/* Aborts, naming the function and both roles, if the calling thread's role is another. */
void thread_assert(enum thread_role role, const char *function);

#define assert_control_thread() thread_assert(THREAD_CONTROL, __func__)
#define assert_worker_thread()	thread_assert(THREAD_WORKER, __func__)

#else

static inline void thread_become(enum thread_role role)
{
}

#define assert_control_thread() ((void)0)
#define assert_worker_thread()	((void)0)

#endif
#endif
